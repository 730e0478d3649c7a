"""The IMAP capabilities an operator may hide from an account whose client can't cope with them.

The storage authority checks names against this list and the gateway obeys them, so it stands where both look. A name
that this release doesn't announce may be hidden too: gateways and storage_api of two releases run side by side. Without
IMAP4rev1 there is no session, so it isn't here, and neither is what is said before login (STARTTLS, AUTH=..., SASL-IR):
nobody knows the account then.
"""

from __future__ import annotations

from collections.abc import Iterable

from mailboat_common.errors import Refused, RefusedCode

MASKABLE = (
    *("APPENDLIMIT", "BINARY", "CHILDREN", "COMPRESS=DEFLATE", "CONDSTORE", "CREATE-SPECIAL-USE", "ENABLE", "ESEARCH"),
    *("ESORT", "ID", "IDLE", "IMAP4rev2", "INPROGRESS", "LIST-EXTENDED", "LIST-STATUS", "LITERAL+", "LITERAL-"),
    *("METADATA", "MOVE", "MULTIAPPEND", "NAMESPACE", "NOTIFY", "OBJECTID", "PARTIAL", "PREVIEW", "QRESYNC", "QUOTA"),
    *("QUOTA=RES-MESSAGE", "QUOTA=RES-STORAGE", "REPLACE", "SAVEDATE", "SEARCHRES", "SORT", "SORT=DISPLAY"),
    *("SPECIAL-USE", "STATUS=SIZE", "THREAD=ORDEREDSUBJECT", "THREAD=REFERENCES", "UIDPLUS", "UNAUTHENTICATE"),
    *("UNSELECT", "UTF8=ACCEPT", "WITHIN"),
)

_BY_FOLD = {name.upper(): name for name in MASKABLE}


def canonical_mask(names: Iterable[str]) -> list[str]:
    """The names as they are announced, sorted, each once. Refused INVALID, with the reason, for an unknown one."""
    found = set()
    for name in names:
        known = _BY_FOLD.get(name.upper())
        if known is None:
            fixed = name.upper() == "IMAP4REV1"
            reason = "IMAP4rev1 can't be masked" if fixed else f"Not an IMAP capability that can be masked: {name!r}"
            raise Refused(RefusedCode.INVALID, f"{reason}. Those that can: {', '.join(MASKABLE)}")
        found.add(known)
    return sorted(found)
