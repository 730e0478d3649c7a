"""Who may call what: one table, and the callers' tokens.

`MB_INTERNAL_TOKEN_FILE` is JSON: caller → [current, previous] (one or two tokens, each at least 16 characters). It is
read again when it changes, so a token is rotated by adding the new one, changing the callers, and removing the old
one. Tokens are compared by their SHA-256, in constant time; a token never appears in a log.
"""

from __future__ import annotations

import hashlib
import hmac
import json

from mailboat_common.config import SecretFile
from mailboat_common.log import get_logger

log = get_logger(__name__)

MIN_TOKEN = 16

_READ = frozenset(
    f"MailboxReadService/{method}"
    for method in ("Tree", "Head", "Changes", "Vanished", "Poll", "BodyInfos", "Contents", "Read")
)
_WRITE = frozenset(
    f"MailboxWriteService/{method}"
    for method in (
        "Create",
        "Rename",
        "Delete",
        "Subscribe",
        "Append",
        "StoreFlags",
        "Expunge",
        "Copy",
        "Move",
        "Replace",
        "ClaimRecent",
    )
)
_MAILDROP = frozenset(f"MailboxWriteService/{method}Maildrop" for method in ("Lease", "Renew", "Release")) | {
    "MailboxReadService/MaildropRetention",
    "MailboxWriteService/RecordRetrieved",
}

ALLOWED: dict[str, frozenset[str]] = {
    "smtp_ingress": frozenset(
        {
            "DirectoryService/Resolve",
            "DirectoryService/Authenticate",
            "DirectoryService/Owns",
            "DeliveryService/Deliver",
            "DeliveryService/Confirm",
        }
    ),
    "imap_gateway": _READ
    | _WRITE
    | {
        "DirectoryService/Authenticate",
        "MailboxReadService/Quota",
        "MailboxReadService/Annotations",
        "MailboxWriteService/Annotate",
        "TraceService/Announced",
    },
    "pop3_gateway": (_READ - {"MailboxReadService/Tree"})
    | _MAILDROP
    | {"DirectoryService/Authenticate", "MailboxWriteService/StoreFlags", "MailboxWriteService/Expunge"},
    "delivery_worker": frozenset(f"QueueService/{method}" for method in ("Claim", "Content", "Renew", "Report")),
}


class Callers:
    """Tells a caller by its token."""

    def __init__(self, source: SecretFile) -> None:
        self._source = source
        self._text: str | None = None
        self._callers: dict[bytes, tuple[bytes, str]] = {}

    def check(self) -> None:
        """Reads the file. Raises OSError or ValueError when it can't be used."""
        self._load(self._source.text())

    def identify(self, token: bytes) -> str | None:
        """The caller this token belongs to; None for a stranger."""
        text = self._source.text()
        if text is not self._text and text != self._text:
            try:
                self._load(text)
            except ValueError as error:
                log.error("internal tokens unusable, keeping the last ones", cause=str(error))
                self._text = text
        digest = hashlib.sha256(token).digest()
        found = self._callers.get(digest)
        if found is None or not hmac.compare_digest(found[0], digest):
            return None
        return found[1]

    def _load(self, text: str) -> None:
        self._callers = parse_callers(text)
        self._text = text


def parse_callers(text: str) -> dict[bytes, tuple[bytes, str]]:
    """SHA-256 of a token → (the same, caller). Raises ValueError; its text holds no token."""
    try:
        entries = json.loads(text)
    except ValueError:
        raise ValueError("the internal token file isn't JSON") from None
    if not isinstance(entries, dict):
        raise ValueError("the internal token file isn't an object of caller → [current, previous]")
    callers: dict[bytes, tuple[bytes, str]] = {}
    for caller, tokens in entries.items():
        if caller not in ALLOWED:
            raise ValueError(f"unknown caller {caller!r} in the internal token file; known: {', '.join(ALLOWED)}")
        if isinstance(tokens, str):
            tokens = [tokens]  # noqa: PLW2901 - one form from here on
        if not isinstance(tokens, list) or not 1 <= len(tokens) <= 2:
            raise ValueError(f"caller {caller!r} must have one or two tokens")
        for token in tokens:
            if not isinstance(token, str) or len(token) < MIN_TOKEN:
                raise ValueError(f"a token of {caller!r} is shorter than {MIN_TOKEN} characters")
            digest = hashlib.sha256(token.encode()).digest()
            if callers.get(digest, (digest, caller))[1] != caller:
                raise ValueError(f"{caller!r} shares a token with another caller")
            callers[digest] = (digest, caller)
    return callers
