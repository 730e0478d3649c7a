"""Messages as lists show them: rows of a mailbox with what their header says.

Header blocks are read some at a time, so that a page of messages with huge headers doesn't fill the memory.
"""

from __future__ import annotations

from collections.abc import Sequence

from mailboat_common.errors import Refused, RefusedCode
from mailboat_common.ids import decode_id, encode_id
from mailboat_mime import decode_words, first_value, parse_addresses, sent_time
from mailboat_store_client.ports import MailboxRead
from mailboat_store_client.types import AccountId, BodyField, BodyInfo, Columns, MailboxHead, MailboxId

from .models_mail import AddressOut, MessageOut

CHUNK = 50
SHOWN_ADDRESSES = 100
SHOWN_CHARACTERS = 1000

FIELDS = BodyField.HEADER | BodyField.PREVIEW | BodyField.THREAD


def message_id_of(mailbox_id: MailboxId, uid: int) -> str:
    """How the API names a message."""
    return f"{encode_id(mailbox_id)}.{uid}"


def parse_message_id(text: str) -> tuple[MailboxId, int]:
    """The mailbox and UID of a message's name. Refused NO_MESSAGE."""
    mailbox_text, _, uid_text = text.partition(".")
    try:
        if not (uid_text.isascii() and uid_text.isdigit() and len(uid_text) <= 10):
            raise ValueError
        return MailboxId(decode_id(mailbox_text)), int(uid_text)
    except ValueError:
        raise Refused(RefusedCode.NO_MESSAGE, "No such message") from None


async def summaries(
    reads: MailboxRead, account_id: AccountId, head: MailboxHead, columns: Columns, rows: Sequence[int]
) -> list[MessageOut]:
    """These rows, in this order; without those whose body was collected meanwhile."""
    out: list[MessageOut] = []
    for start in range(0, len(rows), CHUNK):
        some = rows[start : start + CHUNK]
        infos = await reads.body_infos(account_id, [columns.body_id(row) for row in some], FIELDS)
        out += [summary(head, columns, row, info) for row, info in zip(some, infos, strict=True) if info is not None]
    return out


def summary(head: MailboxHead, columns: Columns, row: int, info: BodyInfo) -> MessageOut:
    """One row. A header block over 256 KB isn't looked into: its fields are shown empty."""
    header = info.header or b""
    sent = sent_time(first_value(header, b"date") or b"")
    message_id = first_value(header, b"message-id")
    shown: dict[str, object] = {
        "id": message_id_of(head.mailbox_id, columns.uids[row]),
        "mailbox": head.name,
        "uid": columns.uids[row],
        "modseq": columns.modseqs[row],
        "flags": head.flag_table.names(columns.words(row)),
        "internal_date": columns.internal_dates[row],
        "size": columns.sizes[row],
        "from": addresses(header, b"from"),
        "to": addresses(header, b"to"),
        "cc": addresses(header, b"cc"),
        "subject": decode_words(first_value(header, b"subject") or b"")[:SHOWN_CHARACTERS],
        "date": None if sent is None else sent * 1000,
        "message_id": None if message_id is None else message_id.decode("utf-8", "replace")[:SHOWN_CHARACTERS],
        "thread_id": None if info.thread is None else encode_id(info.thread),
        "preview": info.preview or "",
    }
    return MessageOut.model_validate(shown)


def addresses(header: bytes, field: bytes) -> list[AddressOut]:
    """The addresses of a field, without groups' names; the first hundred."""
    out: list[AddressOut] = []
    for address in parse_addresses(first_value(header, field) or b""):
        if address.mailbox is None or address.host is None:
            continue
        if len(out) == SHOWN_ADDRESSES:
            break
        name = decode_words(address.name or b"")[:SHOWN_CHARACTERS]
        text = b"%s@%s" % (address.mailbox, address.host)
        out.append(AddressOut(name=name, address=text.decode("utf-8", "replace")[:SHOWN_CHARACTERS]))
    return out
