"""Transfer encodings undone in pieces, and messages with NUL made storable."""

import base64
import quopri
from binascii import a2b_qp

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mailboat_mime import Kind, decode_part, find_part, scan, transfer_decoder, without_nul


def in_pieces(data: bytes, encoding: bytes, size: int) -> bytes:
    decoder = transfer_decoder(encoding)
    assert decoder is not None
    pieces = [decoder.feed(data[start : start + size]) for start in range(0, len(data), size)]
    return b"".join(pieces) + decoder.finish()


@pytest.mark.parametrize("encoding", [b"7bit", b"8BIT", b"Binary", b"BASE64", b"Quoted-Printable"])
def test_encodings_of_rfc_2045_are_known(encoding: bytes) -> None:
    assert transfer_decoder(encoding) is not None


@pytest.mark.parametrize("encoding", [b"", b"x-uuencode", b"base-64", b"7-bit", b"utf-8", b"\xff"])
def test_others_are_not(encoding: bytes) -> None:
    assert transfer_decoder(encoding) is None


@pytest.mark.parametrize(
    ("body", "decoded"),
    [
        (b"a  \r\nb\t\r\n c \n", b"a\r\nb\r\n c\n"),
        (b"a=  \r\nb=20\r\nc=20 ", b"ab \r\nc "),
        (b"a=\nb=3D=3d", b"ab=="),
        (b"trailing  ", b"trailing"),
        (b"=", b""),
        (b"a=4", b"a=4"),
        (b"=zz=-1", b"=zz=-1"),
        (b"8-bit \xff\0", b"8-bit \xff\0"),
    ],
)
def test_quoted_printable(body: bytes, decoded: bytes) -> None:
    assert decode_part(body, b"quoted-printable") == decoded
    assert in_pieces(body, b"quoted-printable", 1) == decoded


@pytest.mark.parametrize("size", [0, 1, 49_151, 49_152, 49_153, 300_000])
@pytest.mark.parametrize("piece", [1_000, 65_536, 65_537, 1_000_000])
def test_large_bodies_in_any_pieces(size: int, piece: int) -> None:
    content = bytes(number * number % 251 for number in range(size))
    assert in_pieces(base64.encodebytes(content), b"base64", piece) == content
    assert in_pieces(quopri.encodestring(content), b"quoted-printable", piece) == a2b_qp(quopri.encodestring(content))


@given(st.lists(st.sampled_from([b" ", b"\t", b"=", b"\r\n", b"\n", b"=3", b"D", b"\r", b"x", b" " * 40_000])))
@settings(max_examples=200, deadline=None)
def test_cuts_change_nothing(parts: list[bytes]) -> None:
    body = b"".join(parts) + b"y" * 65_530 + b"".join(parts)
    for encoding in (b"quoted-printable", b"base64"):
        whole = in_pieces(body, encoding, len(body))
        assert {in_pieces(body, encoding, size) for size in (977, 65_535, 65_536)} == {whole}
        assert len(whole) <= len(body)


def test_hostile_bodies_cost_linear_time() -> None:
    for body in (b" " * 4_000_000, b"=" * 4_000_000, b"= " * 2_000_000, b" \n" * 2_000_000, b"=\r" * 2_000_000):
        assert len(in_pieces(body, b"quoted-printable", 65_536)) <= len(body)


@given(st.binary(max_size=300).filter(lambda data: b"--b" not in data), st.booleans())
@settings(max_examples=200, deadline=None)
def test_binary_parts_survive_in_base64(content: bytes, nested: bool) -> None:
    inner = b"Content-Type: a/b\r\nContent-Transfer-Encoding: binary\r\n\r\n" + content
    message = (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + inner + b"\r\n--b--\r\n" if nested else inner
    )
    kept = without_nul(message)
    assert kept is not None
    assert b"\0" not in kept
    part = find_part(scan(kept), (1,))
    assert part is not None
    assert part.kind is Kind.LEAF
    assert decode_part(kept[part.body_start : part.body_end], part.encoding) == content
    if b"\0" not in content:
        assert kept == message


@given(
    st.lists(st.sampled_from([b"\0", b"--b\r\n", b"--b--", b"\r\n", b"Content-Transfer-Encoding: binary\r\n", b"x"]))
)
@settings(max_examples=300, deadline=None)
def test_nothing_with_nul_is_ever_kept(parts: list[bytes]) -> None:
    kept = without_nul(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"".join(parts))
    assert kept is None or b"\0" not in kept
