"""POP3 on the wire: lines, commands (module `commands`), messages as multi-line answers."""

from mailboat_wire.pop3.commands import BadCommand, Command, parse_command
from mailboat_wire.pop3.receiver import MAX_AUTH, MAX_COMMAND, Fault, Line, Pop3Receiver
from mailboat_wire.pop3.stuffing import END, DotStuffer, TopCutter, dot_stuff

__all__ = [
    "END",
    "MAX_AUTH",
    "MAX_COMMAND",
    "BadCommand",
    "Command",
    "DotStuffer",
    "Fault",
    "Line",
    "Pop3Receiver",
    "TopCutter",
    "dot_stuff",
    "parse_command",
]
