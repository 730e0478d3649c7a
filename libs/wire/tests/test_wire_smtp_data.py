"""The message after DATA: only CRLF.CRLF ends it, in any chunking."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mailboat_wire.smtp import DataFault, DataReader, LineEndCheck


def read(data: bytes, step: int, max_size: int | None = None) -> tuple[bytes, DataReader]:
    reader = DataReader(max_size)
    message = b"".join([reader.feed(data[place : place + step]) for place in range(0, len(data), step)])
    return message, reader


GOOD = [
    (b".\r\n", b"", b""),
    (b"\r\n.\r\n", b"\r\n", b""),
    (b"a\r\n.\r\n", b"a\r\n", b""),
    (b"..\r\n.\r\nQUIT\r\n", b".\r\n", b"QUIT\r\n"),
    (b"a\r\n..b\r\n...\r\n.\r\n", b"a\r\n.b\r\n..\r\n", b""),
    (b".a\r\n.\r\n", b"a\r\n", b""),
    (b"a.\r\n.b.\r\n.\r\n", b"a.\r\nb.\r\n", b""),
    (b"a\r\n.\r\nb\r\n.\r\n", b"a\r\n", b"b\r\n.\r\n"),
    (b"\xff\x00\r\n.\r\n", b"\xff\x00\r\n", b""),
]


@pytest.mark.parametrize("step", [1, 2, 3, 1000])
@pytest.mark.parametrize(("data", "message", "rest"), GOOD)
def test_messages(data, message, rest, step):
    got, reader = read(data, step)
    assert (got, reader.done, reader.rest, reader.fault, reader.size) == (message, True, rest, None, len(message))


# What some servers took for the end, or for a line: the message is refused as a whole, the end found where it is.
SMUGGLING = [
    b"a\n.\n",
    b"a\n.\r\n",
    b"a\r\n.\n",
    b"a\r.\r",
    b"a\r\n.\r",
    b"a\r.\r\n",
    b"a\r\n.\r\r\n",
    b"a\r\r\n.\r\n"[:-5],
    b"a\r\n\x00.\n",
    b".\n",
    b".\r",
    b"\n",
    b"\r",
    b"\n\r\n",
]


@pytest.mark.parametrize("step", [1, 2, 3, 1000])
@pytest.mark.parametrize("data", SMUGGLING)
def test_other_line_ends_never_end_the_message(data, step):
    injected = data + b"MAIL FROM:<x@y>\r\n"
    got, reader = read(injected + b".\r\nNOOP\r\n", step)
    assert reader.done
    assert reader.rest == b"NOOP\r\n"
    assert reader.fault is DataFault.BARE_LINE_END
    assert b"MAIL" not in got


def test_a_message_over_the_bound_is_refused_at_its_end():
    got, reader = read(b"x" * 100 + b"\r\n.\r\nNOOP\r\n", 10, max_size=50)
    assert reader.fault is DataFault.TOO_BIG
    assert reader.done
    assert reader.rest == b"NOOP\r\n"
    assert len(got) <= 50
    assert read(b"x" * 48 + b"\r\n.\r\n", 10, max_size=50)[1].fault is None


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_a_message_too_big_and_with_a_bare_line_end_has_one_fault_however_it_comes(step):
    assert read(b"x" * 100 + b"\n.\r\n" + b"\r\n.\r\n", step, max_size=50)[1].fault is DataFault.BARE_LINE_END


def test_what_comes_after_the_end_is_kept():
    reader = DataReader()
    assert reader.feed(b"a\r\n.\r\nNO") == b"a\r\n"
    assert reader.feed(b"OP\r\n") == b""
    assert reader.rest == b"NOOP\r\n"


lines = st.lists(st.sampled_from([b"", b".", b"..", b"a", b".a", b"a."]), max_size=8)


@given(lines, st.integers(1, 7))
def test_stuffed_messages_come_back(words, step):
    message = b"".join(word + b"\r\n" for word in words)
    stuffed = b"".join((b"." if word.startswith(b".") else b"") + word + b"\r\n" for word in words)
    got, reader = read(stuffed + b".\r\nX", step)
    assert (got, reader.rest, reader.fault) == (message, b"X", None)


def by_hand(data: bytes) -> tuple[bool, bool, bytes]:
    """(ended, bare, rest), found one byte at a time by another way: the state after each byte."""
    end = (b"\r\n" + data).find(b"\r\n.\r\n")
    message = data if end < 0 else data[:end]
    stripped = message.replace(b"\r\n", b"")
    return end >= 0, b"\r" in stripped or b"\n" in stripped, b"" if end < 0 else data[end + 3 :]


@given(st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b".", b"x"]), max_size=20).map(b"".join), st.integers(1, 5))
def test_ends_and_bare_line_ends_as_defined(data, step):
    ended, bare, rest = by_hand(data)
    _, reader = read(data, step)
    assert (reader.done, reader.rest) == (ended, rest)
    if ended:
        assert reader.fault == (DataFault.BARE_LINE_END if bare else None)


@given(st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b"x", b""]), max_size=20))
def test_bdat_chunks_are_checked_across_their_borders(chunks):
    check = LineEndCheck()
    for chunk in chunks:
        check.feed(chunk)
    stripped = b"".join(chunks).replace(b"\r\n", b"")
    assert check.finish() == (b"\r" in stripped or b"\n" in stripped)
