"""ENVELOPE (RFC 3501 7.4.2, RFC 9051 7.5.2).

Rules: Date, Subject, In-Reply-To and Message-ID are NIL when absent and "" when present but empty; Sender and Reply-To
are From when absent or empty; empty lists are NIL. Of a repeated text field the first counts; repeated address fields
are joined, as if separated by commas, so that a second From can't hide. Encoded words stay encoded.
"""

from collections.abc import Iterable

from mailboat_mime.addresses import Address, parse_addresses
from mailboat_mime.headers import field_values, unfold
from mailboat_mime.strings import FIELD_LIMIT, NIL, nstring, string

_TEXTS = (b"date", b"subject", b"in-reply-to", b"message-id")
_LISTS = (b"from", b"sender", b"reply-to", b"to", b"cc", b"bcc")
_NAMES = _TEXTS + _LISTS
_TEXT_LIMIT = 8 * 1024
_AUTHOR_LIMIT = 16 * 1024
_VALUE_LIMIT = 2 * FIELD_LIMIT  # octets of a field that are looked at


def envelope(block: bytes, *, utf8: bool = False) -> bytes:
    """The ENVELOPE of a header block, with its parentheses. Strings over 8 KB are cut, lists end at 256 KB in all."""
    texts: dict[bytes, bytes] = {}
    lists: dict[bytes, list[bytes]] = {}
    for name, raw in field_values(block, _NAMES):
        if name in _TEXTS:
            if name not in texts:
                texts[name] = string(unfold(raw[:_VALUE_LIMIT])[:_TEXT_LIMIT], utf8)
        else:
            lists.setdefault(name, []).append(unfold(raw[:_VALUE_LIMIT]))
    sender_from = _list(lists.get(b"from"), _AUTHOR_LIMIT, utf8)
    sender = _list(lists.get(b"sender"), _AUTHOR_LIMIT, utf8)
    reply_to = _list(lists.get(b"reply-to"), _AUTHOR_LIMIT, utf8)
    left = FIELD_LIMIT - 4 * 2 * _TEXT_LIMIT - 3 * _AUTHOR_LIMIT - 1024
    recipients = []
    for name in (b"to", b"cc", b"bcc"):
        rendered = _list(lists.get(name), left, utf8)
        left -= len(rendered)
        recipients.append(rendered)
    return b"(%b %b %b %b %b %b %b %b)" % (
        texts.get(b"date", NIL),
        texts.get(b"subject", NIL),
        sender_from,
        sender_from if sender == NIL else sender,
        sender_from if reply_to == NIL else reply_to,
        b" ".join(recipients),
        texts.get(b"in-reply-to", NIL),
        texts.get(b"message-id", NIL),
    )


def _list(values: list[bytes] | None, limit: int, utf8: bool) -> bytes:
    """A parenthesised address list, or NIL if there are no addresses; addresses beyond `limit` octets are left out."""
    if not values:
        return NIL
    rendered = _addresses((address for value in values for address in parse_addresses(value)), limit, utf8)
    return b"(%b)" % b"".join(rendered) if rendered else NIL


def _addresses(addresses: Iterable[Address], limit: int, utf8: bool) -> list[bytes]:
    out: list[bytes] = []
    in_group = False
    left = limit - 32
    for address in addresses:
        if address.name is None and address.route is None and address.host is None:
            in_group = address.mailbox is not None
        text = b"(%b %b %b %b)" % (
            nstring(address.name, utf8),
            nstring(address.route, utf8),
            nstring(address.mailbox, utf8),
            nstring(address.host, utf8),
        )
        left -= len(text)
        if left < 0:
            if in_group and address.mailbox is not None and out:
                out.append(b"(NIL NIL NIL NIL)")
            break
        out.append(text)
    return out
