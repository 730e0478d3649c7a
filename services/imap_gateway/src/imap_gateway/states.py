"""The states of RFC 9051 section 3, as flags so that a command can name several."""

from __future__ import annotations

import enum


class State(enum.Flag):
    """Where a session stands."""

    NOT_AUTHENTICATED = enum.auto()
    AUTHENTICATED = enum.auto()
    SELECTED = enum.auto()
    LOGOUT = enum.auto()


ANY = State.NOT_AUTHENTICATED | State.AUTHENTICATED | State.SELECTED
LOGGED_IN = State.AUTHENTICATED | State.SELECTED
