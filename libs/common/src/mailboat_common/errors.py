"""The three families of things that go wrong, shared by every service.

- `PeerError`: the peer broke the protocol. Nobody needs to be woken; the session says so and goes on or ends.
- `Refused`: the user asked for what can't be. Carries an append-only code that survives an internal call.
- `Failure`: we failed. `Unavailable` passes (try again), `Internal` is a bug or a broken invariant.

Rule: `public` may be shown to the client, `private` goes to the log only, and `str()` of an exception is never sent to
a client. Everything that is none of these is treated as `Internal` at the edge.
"""

import enum


class RefusedCode(enum.IntEnum):
    """Why a request was refused. Append only: the numbers are those of `mailboat.common.v1.ErrorCode` on the wire."""

    NO_MAILBOX = 20  # no mailbox of that name, or it existed when the session selected it
    MAILBOX_EXISTS = 21
    BAD_NAME = 22  # not a legal mailbox name
    INBOX_FIXED = 23  # INBOX can't be deleted or created
    HAS_CHILDREN = 24  # a mailbox with children isn't deleted
    OVER_QUOTA = 25
    LIMIT = 26  # too many connections, keywords, mailboxes, recipients, ...
    TOO_BIG = 27
    NO_MESSAGE = 28
    IN_USE = 29  # an exclusive lease is held by another session
    NO_ACCOUNT = 30
    STORAGE_FULL = 31  # the database is low on disk: what grows is refused, the rest goes on
    INVALID = 32  # the request contradicts itself or breaks a rule of its type
    NOT_PERMITTED = 33  # known who you are; you may not
    CONFLICT = 34  # the state the request depends on has changed, or the key was used for another request
    ALREADY_EXISTS = 35  # a domain, account, address or token of that name
    NOT_FOUND = 36  # a domain, account, token or trace of that name
    SPECIAL_USE = 37  # no such special use, another mailbox has it, or this one can't have any


class MailboatError(Exception):
    """The root: `public` for the client, `private` for the log.

    An exception class that is not one of the three families below must not derive from this.
    """

    def __init__(self, public: str = "", private: str = "") -> None:
        super().__init__(public, private)
        self.public = public
        self.private = private

    def __str__(self) -> str:
        return f"{self.public} ({self.private})" if self.public and self.private else self.public or self.private


class PeerError(MailboatError):
    """The peer broke the protocol: a malformed command, a line too long, a literal too large."""


class Refused(MailboatError):
    """The user asked for what can't be; repeating the request unchanged gives the same answer."""

    def __init__(self, code: RefusedCode, public: str = "", private: str = "") -> None:
        super().__init__(public, private)
        self.code = code

    def __str__(self) -> str:
        return f"{self.code.name}: {super().__str__()}"


class Failure(MailboatError):
    """We failed. The client learns only a fixed text; the log learns why."""


class Unavailable(Failure):
    """A dependency is away or too slow; the same request may succeed after `retry_after` seconds (None: no idea)."""

    def __init__(self, private: str = "", *, retry_after: float | None = None, public: str = "") -> None:
        super().__init__(public or "Temporarily unavailable, try again later", private)
        self.retry_after = retry_after


class Internal(Failure):
    """A bug or a broken invariant: repeating won't help, someone must look."""

    def __init__(self, private: str = "", *, public: str = "") -> None:
        super().__init__(public or "Internal error", private)


class StartupError(Exception):
    """The service can't start, and one line says why and what to change. Ends the process with status 1."""
