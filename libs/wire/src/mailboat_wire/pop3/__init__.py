"""POP3 on the wire: lines, commands (module `commands`), messages as multi-line answers."""

from mailboat_wire.pop3.commands import BadCommand, Command, parse_command
from mailboat_wire.pop3.receiver import MAX_AUTH, MAX_COMMAND, Fault, Line, Pop3Receiver
from mailboat_wire.pop3.stuffing import END, DotStuffer, dot_stuff, top

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
    "dot_stuff",
    "parse_command",
    "top",
]
