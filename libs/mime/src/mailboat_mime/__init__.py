"""Offset-based MIME: a message is scanned once, and all that IMAP shows of it is rendered from that.

    part = scan(message)                      # the tree of offsets, never fails
    envelope(header_block(message))           # ENVELOPE
    bodystructure(part, message)              # BODYSTRUCTURE; body() is BODY
    resolve(part, (1, 2), "MIME")             # (start, end) of BODY[1.2.MIME]
    Part.from_bytes(part.to_bytes()) == part  # what the store keeps beside a body
    SortKeys.of(header_block(message))        # what SORT and THREAD compare

RFC 2045-2047, 2183, 2231, 3501 (6.4.5, 7.4.2), 5051, 5256 (2, 3), 5322, 5957 (3), 8970. Bytes are kept as they came:
nothing here normalises a message. Pure functions, no asyncio, no logging, no other package. Signatures, which need one
(cryptography), are in modules of their own that are imported by name: `dkim`, `dkim_keys`.
"""

from mailboat_mime.addresses import Address, parse_addresses
from mailboat_mime.collation import casemap
from mailboat_mime.content import Content
from mailboat_mime.dates import (
    Subject,
    base_subject,
    message_id,
    references,
    sent_date,
    sent_time,
    subject_of,
    thread_id,
)
from mailboat_mime.decoding import IDENTITY, Decoder, transfer_decoder
from mailboat_mime.envelope import envelope
from mailboat_mime.headers import (
    count_received,
    decode_words,
    field_selector,
    first_value,
    header_block,
    iter_fields,
    select_fields,
    unfold,
)
from mailboat_mime.ordering import NO_KEYS, SortKeys
from mailboat_mime.part import Kind, Part, large_parts
from mailboat_mime.scanner import scan
from mailboat_mime.section import Section, find_part, resolve
from mailboat_mime.structure import body, bodystructure, content_fields, structures
from mailboat_mime.text import Readable, decode_part, fold, holds, preview, readables, text_of, unicode_domains
from mailboat_mime.transcode import without_nul

__all__ = [
    "IDENTITY",
    "NO_KEYS",
    "Address",
    "Content",
    "Decoder",
    "Kind",
    "Part",
    "Readable",
    "Section",
    "SortKeys",
    "Subject",
    "base_subject",
    "body",
    "bodystructure",
    "casemap",
    "content_fields",
    "count_received",
    "decode_part",
    "decode_words",
    "envelope",
    "field_selector",
    "find_part",
    "first_value",
    "fold",
    "header_block",
    "holds",
    "iter_fields",
    "large_parts",
    "message_id",
    "parse_addresses",
    "preview",
    "readables",
    "references",
    "resolve",
    "scan",
    "select_fields",
    "sent_date",
    "sent_time",
    "structures",
    "subject_of",
    "text_of",
    "thread_id",
    "transfer_decoder",
    "unfold",
    "unicode_domains",
    "without_nul",
]
