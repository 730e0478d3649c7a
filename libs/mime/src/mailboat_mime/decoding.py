"""Transfer encodings undone piece by piece: what FETCH BINARY sends of bodies of any size (RFC 2045 6, RFC 3516).

    decoder = transfer_decoder(part.encoding)      # None: nobody knows how to decode it
    octets = decoder.feed(chunk) ... + decoder.finish()

Rules:
- What is broken is read as far as it can be: nothing fails.
- The result depends on the octets alone, never on how they were cut into chunks; so a size that was counted in one pass
  is right in the next. Input is worked on in blocks that begin where the body begins.
- Memory is one block, whatever comes.
"""

from binascii import Error as BinasciiError
from binascii import a2b_base64, a2b_qp
from typing import Protocol

_BLOCK = 64 * 1024
IDENTITY = frozenset((b"7bit", b"8bit", b"binary"))  # encodings that change nothing (RFC 2045 6.2)
_BASE64_JUNK = bytes(sorted(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")))


class Decoder(Protocol):
    """Undoes one encoding."""

    def feed(self, data: bytes) -> bytes:
        """What can be told of the body after the next octets of it; often nothing yet."""

    def finish(self) -> bytes:
        """What is left when the body has ended."""


class Identity:
    """7bit, 8bit, binary."""

    def feed(self, data: bytes) -> bytes:
        return data

    def finish(self) -> bytes:
        return b""


class _Blocks:
    """A decoder that works on blocks of fixed size, with what one left undecided in front of the next."""

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._carry = b""

    def feed(self, data: bytes) -> bytes:
        self._waiting += data
        out = []
        while len(self._waiting) >= _BLOCK:
            block = self._carry + self._waiting[:_BLOCK]
            del self._waiting[:_BLOCK]
            out.append(self._decode(block, last=False))
        return b"".join(out)

    def finish(self) -> bytes:
        block = self._carry + bytes(self._waiting)
        self._waiting.clear()
        return self._decode(block, last=True)

    def _decode(self, block: bytes, *, last: bool) -> bytes:
        raise NotImplementedError


class Base64(_Blocks):
    """Base64 without regard to line ends, junk or missing padding; the first "=" ends it (RFC 2045 6.8)."""

    def __init__(self) -> None:
        super().__init__()
        self._ended = False

    def _decode(self, block: bytes, *, last: bool) -> bytes:
        if self._ended:
            return b""
        self._ended = b"=" in block
        digits = block.partition(b"=")[0].translate(None, _BASE64_JUNK)
        if not self._ended and not last:
            whole = len(digits) // 4 * 4
            self._carry = digits[whole:]
            digits = digits[:whole]
        return _from_digits(digits)


class QuotedPrintable(_Blocks):
    """Quoted-printable; white space at the end of a line is no content (RFC 2045 6.7)."""

    def _decode(self, block: bytes, *, last: bool) -> bytes:
        if not last:
            decided = _decided(block)
            self._carry = block[decided:]
            block = block[:decided]
        return a2b_qp(_without_trailing_space(block, last=last))


def transfer_decoder(encoding: bytes) -> Decoder | None:
    """A new decoder for a Content-Transfer-Encoding in any case; None for one that isn't in RFC 2045."""
    match encoding.lower():
        case b"base64":
            return Base64()
        case b"quoted-printable":
            return QuotedPrintable()
        case known if known in IDENTITY:
            return Identity()
    return None


def decode_base64(data: bytes) -> bytes:
    """All of a base64 body or word at once."""
    return _from_digits(data.partition(b"=")[0].translate(None, _BASE64_JUNK))


def decode_quoted_printable(data: bytes) -> bytes:
    """All of a quoted-printable body at once."""
    return a2b_qp(_without_trailing_space(data, last=True))


def _from_digits(digits: bytes) -> bytes:
    over = len(digits) % 4
    if over == 1:
        digits = digits[:-1]
    try:
        return a2b_base64(digits + b"==" if over in (2, 3) else digits)
    except BinasciiError as broken:  # the alphabet and length were made right above
        raise AssertionError("cleaned base64 did not decode") from broken


def _decided(block: bytes) -> int:
    """Where what the next octets could still change begins: a cut escape, space that may end a line."""
    end = len(block.rstrip(b" \t\r"))
    if block.endswith(b"=", 0, end):
        end -= 1
    elif end == len(block) and block[end - 2 : end - 1] == b"=":
        end -= 2
    return end if len(block) - end < _BLOCK else len(block)


def _without_trailing_space(data: bytes, *, last: bool) -> bytes:
    if b" \r\n" in data or b"\t\r\n" in data or b" \n" in data or b"\t\n" in data:
        lines = data.split(b"\n")
        for index, line in enumerate(lines[:-1]):
            if line.endswith(b"\r"):
                lines[index] = line[:-1].rstrip(b" \t") + b"\r"
            else:
                lines[index] = line.rstrip(b" \t")
        data = b"\n".join(lines)
    return data.rstrip(b" \t") if last else data
