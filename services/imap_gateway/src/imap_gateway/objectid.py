"""The object identifiers of RFC 8474, as clients see them: a letter for the kind, and the store's id in hexadecimal.

Rules: the same object has the same identifier for ever, in every session and on every pod, and no two objects share
one: the letters keep mailboxes, messages and threads apart. None begins with a digit or a dash, and no two differ in
case alone (RFC 8474 8.1). An EMAILID is the body's id, so COPY and MOVE keep it and two uploads of the same bytes have
two; a THREADID comes from the ids in the message's header.
"""

from __future__ import annotations

import re

from mailboat_store_client.types import BodyId, MailboxHead

from .view import View

_EMAIL = re.compile(rb"M([0-9a-f]{32})")
_THREAD = re.compile(rb"T([0-9a-f]{32})")


def mailbox_id(mailbox: MailboxHead | View) -> bytes:
    """MAILBOXID, without parentheses: another one with another UIDVALIDITY, which a restore brings (RFC 8474 4)."""
    value = b"F" + mailbox.mailbox_id.hex().encode("ascii")
    return value + b"-%x" % mailbox.uid_validity if mailbox.first_uid_validity else value


def thread_id(value: bytes) -> bytes:
    """THREADID, without parentheses."""
    return b"T" + value.hex().encode("ascii")


def email_ids(body_ids: bytes | bytearray) -> list[bytes]:
    """EMAILID, without parentheses, of each of some body ids that follow each other."""
    return [b"M" + each for each in body_ids.hex(" ", 16).encode("ascii").split()]


def body_id_of(email_id: bytes) -> BodyId | None:
    """The body that an EMAILID names; None if it was never one of ours."""
    found = _EMAIL.fullmatch(email_id)
    return None if found is None else BodyId(bytes.fromhex(found[1].decode("ascii")))


def thread_of(value: bytes) -> bytes | None:
    """The thread that a THREADID names; None if it was never one of ours."""
    found = _THREAD.fullmatch(value)
    return None if found is None else bytes.fromhex(found[1].decode("ascii"))
