"""BODYSTRUCTURE and BODY (RFC 3501 7.4.2, RFC 9051 7.5.2).

As Dovecot shows them: types, names and values as sent; text without a charset is us-ascii; a multipart without parts
shows one empty text part; RFC 2231 parameters as "name*".
"""

from mailboat_mime.content import Content, Params, parse_content
from mailboat_mime.envelope import envelope
from mailboat_mime.part import Kind, Part
from mailboat_mime.strings import FIELD_LIMIT, NIL, nstring, string

_STRING_LIMIT = 8 * 1024
_SPARE = 24  # octets of a name in a structure that would be too large otherwise
_EMPTY_BODY = b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0'
_NO_ENVELOPE = b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"
_DEFAULT_CHARSET = b'"charset" "us-ascii"'


def content_fields(part: Part, message: bytes) -> Content:
    """All Content-* fields of a part, read from its header."""
    return parse_content(message[part.header_start : part.body_start])


def bodystructure(part: Part, message: bytes) -> bytes:
    """BODYSTRUCTURE of the part with its parentheses, at most 256 KB.

    Strings over 8 KB are cut; a structure that is still over 256 KB is shown without its descriptive fields.
    """
    return _bounded(part, message, True, {})


def body(part: Part, message: bytes) -> bytes:
    """BODY, the structure without extension data, with its parentheses; bounded like BODYSTRUCTURE."""
    return _bounded(part, message, False, {})


def structures(part: Part, message: bytes) -> tuple[bytes, bytes]:
    """(BODYSTRUCTURE, BODY) of the part, for less than the price of two."""
    contents: dict[int, Content] = {}
    return _bounded(part, message, True, contents), _bounded(part, message, False, contents)


def _bounded(part: Part, message: bytes, extended: bool, contents: dict[int, Content]) -> bytes:
    renderer = _Renderer(message, extended, FIELD_LIMIT, contents)
    if not renderer.part(part):
        renderer = _Renderer(message, extended, None, contents)
        renderer.part(part)
    return b"".join(renderer.out)


class _Renderer:
    """Writes one structure; gives up past `limit`, or, without one, writes only what 1,000 parts have room for."""

    def __init__(self, message: bytes, extended: bool, limit: int | None, contents: dict[int, Content]) -> None:
        self.message = message
        self.extended = extended
        self.limit = limit
        self.contents = contents  # header offset → fields, read once
        self.size = 0
        self.out: list[bytes] = []

    def put(self, text: bytes) -> None:
        self.out.append(text)
        self.size += len(text)

    def part(self, part: Part) -> bool:
        """Write a part and those below it; False if it went past the limit."""
        if self.limit is None:
            content = Content(params=((b"charset", part.charset[:_SPARE]),) if part.charset else ())
        else:
            known = self.contents.get(part.header_start)
            content = known if known is not None else content_fields(part, self.message)
            self.contents[part.header_start] = content
        self.put(b"(")
        if part.kind is Kind.MULTIPART:
            for child in part.children:
                if not self.part(child):
                    return False
            self.multipart(part, content)
        else:
            if not self.leaf(part, content):
                return False
            if self.extended:
                self.put(b" " + _text(content.md5))
                self.put(_extension(content))
        self.put(b")")
        return self.limit is None or self.size <= self.limit

    def multipart(self, part: Part, content: Content) -> None:
        if not part.children:
            self.put(_EMPTY_BODY + (b" NIL NIL NIL NIL)" if self.extended else b")"))
        self.put(b" " + _text(part.subtype if self.limit is not None else part.subtype[:_SPARE]))
        if self.extended:
            self.put(b" " + _params(content.params))
            self.put(_extension(content))

    def leaf(self, part: Part, content: Content) -> bool:
        params = () if part.flattened else content.params
        text = part.is_text
        room = _SPARE if self.limit is None else None
        self.put(
            b"%b %b %b %b %b %b %d"
            % (
                b'"message"' if part.kind is Kind.MESSAGE else _text(part.type[:room]),
                b'"rfc822"' if part.kind is Kind.MESSAGE else _text(part.subtype[:room]),
                _text_params(params) if text else _params(params),
                _text(content.content_id),
                _text(content.description),
                _text(part.encoding[:room]),
                part.size,
            )
        )
        embedded = part.message
        if embedded is not None:
            block = self.message[embedded.header_start : embedded.body_start]
            self.put(b" " + (_NO_ENVELOPE if self.limit is None else envelope(block)) + b" ")
            if not self.part(embedded):
                return False
        if text or embedded is not None:
            self.put(b" %d" % part.lines)
        return True


def _text(value: bytes | None) -> bytes:
    return nstring(value if value is None or len(value) <= _STRING_LIMIT else value[:_STRING_LIMIT])


def _pairs(params: Params) -> bytes:
    return b" ".join([b"%b %b" % (_text(name), _text(value)) for name, value in params])


def _params(params: Params) -> bytes:
    return b"(%b)" % _pairs(params) if params else NIL


def _text_params(params: Params) -> bytes:
    """Parameters of a text part: never without a charset."""
    if not params:
        return b"(%b)" % _DEFAULT_CHARSET
    if any(name.lower() in (b"charset", b"charset*") for name, _ in params):
        return _params(params)
    return b"(%b %b)" % (_pairs(params), _DEFAULT_CHARSET)


def _extension(content: Content) -> bytes:
    """Disposition, language and location: what both kinds of body end with."""
    if content.disposition is None and not content.language and content.location is None:
        return b" NIL NIL NIL"
    disposition = NIL
    if content.disposition is not None:
        disposition = b"(%b %b)" % (_text(content.disposition), _params(content.disposition_params))
    language = b"(%b)" % b" ".join(string(tag[:64]) for tag in content.language) if content.language else NIL
    return b" %b %b %b" % (disposition, language, _text(content.location))
