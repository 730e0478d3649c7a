"""What can go wrong, and the exit status each means: 1 refused, 2 wrong use, 3 not reachable."""

from __future__ import annotations


class CommandError(Exception):
    """A text for the person at the terminal and an exit status."""

    status = 1


class ApiRefused(CommandError):
    """The API said no; ``code`` is its HTTP status, the text comes from its problem document (RFC 9457)."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class CheckFailed(CommandError):
    """The platform answered or behaved otherwise than mail needs; the text says what was seen."""


class WrongUse(CommandError):
    """The arguments, the input or the settings make no sense; nothing was sent."""

    status = 2


class Unreachable(CommandError):
    """There is no API at the address, it can't be understood, or it has failed."""

    status = 3
