"""IMAP on the wire: framing, grammar, responses. See `framing` for how a connection uses it.

`types` (as a module) holds the commands, `response` (as a module) writes the answers.
"""

from mailboat_wire.imap.events import (
    UNAUTHENTICATED,
    AppendEnd,
    AppendFrame,
    BadCommand,
    ContinuationLine,
    Event,
    Fault,
    Frame,
    Limits,
    Literal,
    LiteralChunk,
    NeedContinuation,
)
from mailboat_wire.imap.framing import ImapReceiver
from mailboat_wire.imap.parser import check_append_end, parse_append, parse_command
from mailboat_wire.imap.sequence import SequenceSet

__all__ = [
    "UNAUTHENTICATED",
    "AppendEnd",
    "AppendFrame",
    "BadCommand",
    "ContinuationLine",
    "Event",
    "Fault",
    "Frame",
    "ImapReceiver",
    "Limits",
    "Literal",
    "LiteralChunk",
    "NeedContinuation",
    "SequenceSet",
    "check_append_end",
    "parse_append",
    "parse_command",
]
