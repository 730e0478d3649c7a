"""The CAPABILITY line, computed from the registries, so that nothing is advertised that isn't there.

RFC 9051 6.1.1, 7.2.2. Commands, FETCH items, search keys, STATUS items and ENABLE features name the capabilities they
belong to; `check` (at start) refuses a capability of which a piece is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mailboat_common.errors import StartupError

from .commands import registry
from .states import State

if TYPE_CHECKING:
    from .session import Session

# What the wire library does without any command of ours: LITERAL+ (RFC 7888), SASL-IR (RFC 4959).
_BY_WIRE = (b"LITERAL+", b"SASL-IR")
_REVISIONS = (b"IMAP4rev1", b"IMAP4rev2")
_BEFORE_LOGIN = (*_REVISIONS, *_BY_WIRE, b"ID", b"ENABLE")

COMPRESS = b"COMPRESS=DEFLATE"

# What each capability consists of, by registry: advertised only if all of it is registered.
_COMMANDS: dict[bytes, tuple[bytes, ...]] = {
    b"IMAP4rev1": (
        *(b"CAPABILITY", b"NOOP", b"LOGOUT", b"AUTHENTICATE", b"LOGIN", b"STARTTLS"),
        *(b"SELECT", b"EXAMINE", b"CREATE", b"DELETE", b"RENAME", b"SUBSCRIBE", b"UNSUBSCRIBE", b"LIST", b"LSUB"),
        *(b"STATUS", b"APPEND", b"CHECK", b"CLOSE", b"EXPUNGE", b"SEARCH", b"FETCH", b"STORE", b"COPY"),
    ),
    b"IMAP4rev2": (
        *(b"CAPABILITY", b"NOOP", b"LOGOUT", b"AUTHENTICATE", b"LOGIN", b"STARTTLS", b"ENABLE", b"NAMESPACE"),
        *(b"SELECT", b"EXAMINE", b"CREATE", b"DELETE", b"RENAME", b"SUBSCRIBE", b"UNSUBSCRIBE", b"LIST", b"STATUS"),
        *(b"APPEND", b"IDLE", b"CLOSE", b"UNSELECT", b"EXPUNGE", b"SEARCH", b"FETCH", b"STORE", b"COPY", b"MOVE"),
    ),
    b"ENABLE": (b"ENABLE",),
    b"ID": (b"ID",),
    b"IDLE": (b"IDLE",),
    b"NAMESPACE": (b"NAMESPACE",),
    b"UNSELECT": (b"UNSELECT",),
    b"UIDPLUS": (b"EXPUNGE", b"APPEND", b"COPY"),
    b"MOVE": (b"MOVE",),
    b"MULTIAPPEND": (b"APPEND",),
    b"BINARY": (b"FETCH", b"APPEND"),
    b"APPENDLIMIT": (b"APPEND", b"STATUS"),
    b"CHILDREN": (b"LIST",),
    b"LIST-EXTENDED": (b"LIST",),
    b"LIST-STATUS": (b"LIST", b"STATUS"),
    b"SPECIAL-USE": (b"LIST",),
    b"CREATE-SPECIAL-USE": (b"CREATE",),
    b"CONDSTORE": (b"SELECT", b"FETCH", b"STORE", b"SEARCH", b"STATUS", b"ENABLE"),
    b"QRESYNC": (b"SELECT", b"FETCH", b"STORE", b"EXPUNGE", b"CLOSE", b"ENABLE"),
    b"UTF8=ACCEPT": (b"ENABLE", b"APPEND", b"LIST"),
    b"ESEARCH": (b"SEARCH",),
    b"SEARCHRES": (b"SEARCH",),
    b"WITHIN": (b"SEARCH",),
    b"SORT": (b"SORT",),
    b"SORT=DISPLAY": (b"SORT",),
    b"THREAD=ORDEREDSUBJECT": (b"THREAD",),
    b"THREAD=REFERENCES": (b"THREAD",),
    b"PARTIAL": (b"SEARCH", b"FETCH"),
    b"INPROGRESS": (b"SEARCH", b"SORT", b"THREAD", b"FETCH", b"COPY", b"MOVE"),
    b"SAVEDATE": (b"FETCH", b"SEARCH"),
    b"STATUS=SIZE": (b"STATUS",),
    b"METADATA": (b"GETMETADATA", b"SETMETADATA"),
    b"QUOTA": (b"GETQUOTA", b"GETQUOTAROOT"),
    b"QUOTA=RES-STORAGE": (b"GETQUOTA", b"GETQUOTAROOT", b"STATUS"),
    b"QUOTA=RES-MESSAGE": (b"GETQUOTA", b"GETQUOTAROOT", b"STATUS"),
    b"NOTIFY": (b"NOTIFY", b"STATUS", b"LIST"),
    b"UNAUTHENTICATE": (b"UNAUTHENTICATE",),
    COMPRESS: (b"COMPRESS",),
    b"OBJECTID": (b"CREATE", b"SELECT", b"EXAMINE", b"STATUS", b"FETCH", b"SEARCH"),
    b"PREVIEW": (b"FETCH",),
    b"REPLACE": (b"REPLACE",),
}
_FETCH_ITEMS: dict[bytes, tuple[bytes, ...]] = {
    b"IMAP4rev1": (
        *(b"FLAGS", b"UID", b"INTERNALDATE", b"RFC822.SIZE", b"ENVELOPE", b"BODY", b"BODYSTRUCTURE", b"BODY["),
        *(b"RFC822", b"RFC822.HEADER", b"RFC822.TEXT"),
    ),
    b"BINARY": (b"BINARY[", b"BINARY.SIZE["),
    b"IMAP4rev2": (
        *(b"FLAGS", b"UID", b"INTERNALDATE", b"RFC822.SIZE", b"ENVELOPE", b"BODY", b"BODYSTRUCTURE", b"BODY["),
        *(b"BINARY[", b"BINARY.SIZE["),
    ),
    b"CONDSTORE": (b"MODSEQ",),
    b"SAVEDATE": (b"SAVEDATE",),
    b"OBJECTID": (b"EMAILID", b"THREADID"),
    b"PREVIEW": (b"PREVIEW",),
}
_STATUS_ITEMS: dict[bytes, tuple[bytes, ...]] = {
    b"IMAP4rev1": (b"MESSAGES", b"RECENT", b"UIDNEXT", b"UIDVALIDITY", b"UNSEEN"),
    b"IMAP4rev2": (b"MESSAGES", b"UIDNEXT", b"UIDVALIDITY", b"UNSEEN", b"DELETED", b"SIZE"),
    b"CONDSTORE": (b"HIGHESTMODSEQ",),
    b"STATUS=SIZE": (b"SIZE",),
    b"APPENDLIMIT": (b"APPENDLIMIT",),
    b"QUOTA=RES-STORAGE": (b"DELETED-STORAGE",),
    b"QUOTA=RES-MESSAGE": (b"DELETED",),
    b"OBJECTID": (b"MAILBOXID",),
}
_SEARCH_KEYS: dict[bytes, tuple[str, ...]] = {
    b"IMAP4rev1": (
        *("SearchAll", "SearchAnd", "SearchOr", "SearchNot", "SearchFlag", "SearchRecent", "SearchText"),
        *("SearchHeader", "SearchDate", "SearchSize", "SearchSequence"),
    ),
    b"CONDSTORE": ("SearchModseq",),
    b"WITHIN": ("SearchWithin",),
    b"OBJECTID": ("SearchObjectId",),
}
_FEATURES: dict[bytes, tuple[bytes, ...]] = {
    b"IMAP4rev2": (b"IMAP4REV2",),
    b"CONDSTORE": (b"CONDSTORE",),
    b"QRESYNC": (b"CONDSTORE", b"QRESYNC"),
    b"UTF8=ACCEPT": (b"UTF8=ACCEPT",),
}


def advertised() -> tuple[bytes, ...]:
    """Every capability some registered code says it brings, the revisions first."""
    named = {name for entry in registry.entries() for name in entry.capabilities}
    return (*_REVISIONS, *_BY_WIRE, *sorted(named.difference(_REVISIONS)))


def check() -> None:
    """StartupError if a capability is advertised of which a piece is missing, or that nobody described here."""
    from .features import FEATURES  # noqa: PLC0415 - the registries import commands, which import this module
    from .fetch_items import FETCH_ITEMS  # noqa: PLC0415
    from .search_keys import SEARCH_KEYS  # noqa: PLC0415
    from .status_items import STATUS_ITEMS  # noqa: PLC0415

    commands = {entry.name for entry in registry.entries()}
    keys = {kind.__name__ for kind in SEARCH_KEYS}
    missing: list[str] = []
    for capability in advertised():
        if capability in _BY_WIRE:
            continue
        if capability not in _COMMANDS:
            missing.append(f"{capability.decode()}: not described")
            continue
        lacking: list[object] = [name for name in _COMMANDS[capability] if name not in commands]
        lacking += [name for name in _FETCH_ITEMS.get(capability, ()) if name not in FETCH_ITEMS]
        lacking += [name for name in _STATUS_ITEMS.get(capability, ()) if name not in STATUS_ITEMS]
        lacking += [name for name in _SEARCH_KEYS.get(capability, ()) if name not in keys]
        lacking += [name for name in _FEATURES.get(capability, ()) if name not in FEATURES]
        if lacking:
            missing.append(f"{capability.decode()}: {', '.join(map(str, lacking))}")
    if missing:
        raise StartupError("capabilities without their code: " + "; ".join(missing))


def capabilities(session: Session) -> tuple[bytes, ...]:
    """What this session is told now."""
    if session.state is not State.NOT_AUTHENTICATED:
        return tuple(_told(session))
    names = [name for name in advertised() if name in _BEFORE_LOGIN]
    if session.link.can_start_tls:
        names.append(b"STARTTLS")
    names.append(b"AUTH=PLAIN" if may_authenticate(session) else b"LOGINDISABLED")
    return tuple(names)


def _told(session: Session) -> Iterator[bytes]:
    """After login: all but what is hidden from the account. Instead of LITERAL+, LITERAL- is told (RFC 7888 5)."""
    compressible = may_compress(session) and not session.link.compressed
    for name in advertised():
        if name == COMPRESS and not compressible:
            continue
        if name.upper() not in session.masked:
            yield _with_value(session, name)
        elif name == b"LITERAL+" and b"LITERAL-" not in session.masked:
            yield b"LITERAL-"


def _with_value(session: Session, name: bytes) -> bytes:
    """A capability that says a number says this process's (RFC 7889 2: one limit for all mailboxes)."""
    if name == b"APPENDLIMIT":
        return b"APPENDLIMIT=%d" % session.gateway.policy.message_limit
    return name


def greeting_code(session: Session) -> bytes:
    """The names joined, for a CAPABILITY code."""
    return b" ".join(capabilities(session))


def may_compress(session: Session) -> bool:
    """Whether the operator offers compression."""
    return session.gateway.policy.compress


def may_authenticate(session: Session) -> bool:
    """RFC 9051 6.2.3, 11.1: no password in clear text unless the operator allows it."""
    return session.link.tls_version is not None or not session.gateway.policy.auth_require_tls
