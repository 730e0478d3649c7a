"""A message as it is shown alone: header fields, readable text, parts.

A message of up to 1 MiB is read once. Of a larger one only the header, the parts' headers and the text are read, so
that a message with fifty megabytes of attachments costs little.
"""

from __future__ import annotations

from collections.abc import Iterator

from mailboat_common.errors import Refused, RefusedCode
from mailboat_mime import Kind, Part, decode_part, decode_words, iter_fields
from mailboat_mime.content import parse_content
from mailboat_mime.headers import decode_charset
from mailboat_store_client.ports import MailboxRead
from mailboat_store_client.types import AccountId, BodyField, BodyId, Columns, MailboxHead

from .models_mail import HeaderOut, MessageDetail, PartOut
from .summaries import FIELDS, summary

WHOLE = 1 << 20
SHOWN_PARTS = 200
SHOWN_FIELDS = 500
SHOWN_VALUE = 16_384
SHOWN_TEXT = 262_144
PART_HEADER = 64 << 10


class _Source:
    """Byte ranges of one message: from memory if it is small, from the store if it isn't."""

    def __init__(self, reads: MailboxRead, account_id: AccountId, body_id: BodyId, whole: bytes | None) -> None:
        self._reads = reads
        self._account_id = account_id
        self._body_id = body_id
        self._whole = whole

    async def range(self, start: int, end: int) -> bytes:
        if self._whole is not None:
            return self._whole[start:end]
        if end <= start:
            return b""
        chunks = self._reads.read(self._account_id, self._body_id, start, end - start)
        return b"".join([chunk async for chunk in chunks])


async def detail(
    reads: MailboxRead, account_id: AccountId, head: MailboxHead, columns: Columns, row: int
) -> MessageDetail:
    """All of one message that a person reads. Refused NO_MESSAGE if its body was collected meanwhile."""
    body_id = columns.body_id(row)
    (info,) = await reads.body_infos(account_id, [body_id], FIELDS | BodyField.STRUCTURE)
    if info is None or info.structure is None:
        raise Refused(RefusedCode.NO_MESSAGE, "No such message")
    whole = None
    if info.size <= WHOLE:
        (whole,) = await reads.contents(account_id, [body_id], WHOLE)
    source = _Source(reads, account_id, body_id, whole)
    parts = list(_limited(numbered(Part.from_bytes(info.structure))))
    shown = [await _part(source, path, part) for path, part in parts]
    texts = {subtype: await _text(source, parts, shown, subtype) for subtype in (b"plain", b"html")}
    fields = {
        "headers": _fields(info.header or b""),
        "text": texts[b"plain"],
        "html": texts[b"html"],
        "parts": shown,
    }
    return MessageDetail.model_validate(summary(head, columns, row, info).model_dump(by_alias=True) | fields)


async def part_info(reads: MailboxRead, account_id: AccountId, body_id: BodyId, path: str, part: Part) -> PartOut:
    """What is shown of one part."""
    return await _part(_Source(reads, account_id, body_id, None), path, part)


def numbered(message: Part) -> Iterator[tuple[str, Part]]:
    """(path, part) of all parts that are no multipart, embedded messages' parts among them (RFC 9051 6.4.5)."""
    return _in_message(message, "")


def _in_message(message: Part, prefix: str) -> Iterator[tuple[str, Part]]:
    if message.kind is Kind.MULTIPART:
        yield from _in_multipart(message, prefix)
    else:
        yield from _in_body(message, f"{prefix}1")


def _in_multipart(part: Part, prefix: str) -> Iterator[tuple[str, Part]]:
    for number, child in enumerate(part.children, 1):
        yield from _in_body(child, f"{prefix}{number}")


def _in_body(part: Part, path: str) -> Iterator[tuple[str, Part]]:
    if part.kind is Kind.MULTIPART:
        yield from _in_multipart(part, f"{path}.")
        return
    yield path, part
    if part.message is not None:
        yield from _in_message(part.message, f"{path}.")


def _limited(parts: Iterator[tuple[str, Part]]) -> Iterator[tuple[str, Part]]:
    for number, item in enumerate(parts):
        if number == SHOWN_PARTS:
            return
        yield item


async def _part(source: _Source, path: str, part: Part) -> PartOut:
    header = await source.range(part.header_start, min(part.body_start, part.header_start + PART_HEADER))
    content = parse_content(header)
    disposition, filename = content.disposition, content.filename()
    return PartOut(
        path=path,
        type=(part.type + b"/" + part.subtype).decode("utf-8", "replace").lower(),
        size=part.size,
        filename=None if filename is None else filename[:1000],
        disposition=None if disposition is None else disposition.decode("utf-8", "replace").lower()[:100],
        content_id=None if content.content_id is None else content.content_id.decode("utf-8", "replace")[:1000],
    )


async def _text(source: _Source, parts: list[tuple[str, Part]], shown: list[PartOut], subtype: bytes) -> str | None:
    """The first text of a kind that is no attachment and not in an embedded message."""
    embedded: list[str] = []
    for (path, part), out in zip(parts, shown, strict=True):
        if part.kind is Kind.MESSAGE:
            embedded.append(f"{path}.")
        if (
            path.startswith(tuple(embedded))
            or not part.is_text
            or part.subtype.lower() != subtype
            or out.disposition == "attachment"
        ):
            continue
        octets = await source.range(part.body_start, min(part.body_end, part.body_start + 4 * SHOWN_TEXT))
        text = decode_charset(decode_part(octets, part.encoding), part.charset)
        return text.replace("\r\n", "\n")[:SHOWN_TEXT]
    return None


def _fields(header: bytes) -> list[HeaderOut]:
    out: list[HeaderOut] = []
    for name, _raw, value in iter_fields(header):
        if len(out) == SHOWN_FIELDS:
            break
        out.append(HeaderOut(name=name.decode("utf-8", "replace")[:1000], value=decode_words(value)[:SHOWN_VALUE]))
    return out
