"""Replies, EHLO's offers and dot stuffing, as a client needs them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mailboat_wire.smtp import DataReader, Reply, ReplyError, ReplyReader, parse_extensions, stuffed


@pytest.mark.parametrize(
    ("sent", "replies"),
    [
        (b"220 mx.example ESMTP\r\n", [Reply(220, ("mx.example ESMTP",))]),
        (b"250\r\n", [Reply(250, ("",))]),
        (b"250 \r\n", [Reply(250, ("",))]),
        (b"250 ok\n", [Reply(250, ("ok",))]),
        (b"250-a\r\n250-b\r\n250 c\r\n", [Reply(250, ("a", "b", "c"))]),
        (b"250-a\r\n250\r\n", [Reply(250, ("a", ""))]),
        (b"250 a\r\n354 go\r\n", [Reply(250, ("a",)), Reply(354, ("go",))]),
        (b"550 5.1.1 \x1b[31mno\xff\r\n", [Reply(550, ("5.1.1  [31mno\ufffd",))]),
    ],
)
def test_replies_come_out_whole_and_byte_by_byte(sent: bytes, replies: list[Reply]) -> None:
    assert ReplyReader().feed(sent) == replies
    reader = ReplyReader()
    assert [reply for byte in sent for reply in reader.feed(bytes([byte]))] == replies
    assert reader.empty


@pytest.mark.parametrize(
    "sent",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        b"\r\n",
        b"25 ok\r\n",
        b"650 ok\r\n",
        b"150 ok\r\n",
        b"2500 ok\r\n",
        b"250-a\r\n550 b\r\n",
        b"250 " + b"x" * 2050 + b"\r\n",
        b"x" * 3000,
        b"250-x\r\n" * 101,
    ],
)
def test_what_is_no_reply_or_too_much_ends_it(sent: bytes) -> None:
    with pytest.raises(ReplyError):
        ReplyReader().feed(sent)


def test_of_a_long_reply_only_the_beginning_is_kept() -> None:
    (reply,) = ReplyReader().feed(b"".join(b"550-%b\r\n" % (b"x" * 500) for _ in range(99)) + b"550 end\r\n")
    assert sum(map(len, reply.lines)) == 1000
    assert len(str(reply)) == 1000


@pytest.mark.parametrize(
    ("reply", "enhanced", "status"),
    [
        (Reply(550, ("5.1.1 No such user",)), "5.1.1", "5.1.1"),
        (Reply(550, ("5.1.1",)), "5.1.1", "5.1.1"),
        (Reply(550, ("No such user",)), "", "5.0.0"),
        (Reply(450, ("5.7.1 contradicts itself",)), "4.7.1", "4.7.1"),
        (Reply(250, ("2.1.5.9 no code",)), "", "2.0.0"),
        (Reply(451, ("4.007.01 zeros",)), "4.7.1", "4.7.1"),
        (Reply(421, ()), "", "4.0.0"),
    ],
)
def test_the_enhanced_status_code(reply: Reply, enhanced: str, status: str) -> None:
    assert (reply.enhanced, reply.status) == (enhanced, status)


def test_what_ehlo_offers() -> None:
    offered = parse_extensions(
        ("mx.example greets you", "PIPELINING", "size 1000", "AUTH PLAIN login", "8bitmime", "", "--x", "SIZE 5")
    )
    assert "PIPELINING" in offered
    assert "8BITMIME" in offered
    assert "DSN" not in offered
    assert offered.size == 1000
    assert offered.mechanisms == ("PLAIN", "LOGIN")
    assert parse_extensions(("PIPELINING",)).keywords == {}
    assert parse_extensions(("x", "SIZE")).size is None
    assert parse_extensions(("x", "SIZE 0")).size is None
    assert parse_extensions(("x", "SIZE lots")).size is None
    assert parse_extensions(("x", "AUTH=LOGIN")).mechanisms == ("LOGIN",)


@pytest.mark.parametrize(
    ("message", "sent"),
    [
        (b"a\r\n", b"a\r\n.\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b"", b".\r\n"),
        (b".\r\n", b"..\r\n.\r\n"),
        (b"a\r\n.\r\n..b\r\n", b"a\r\n..\r\n...b\r\n.\r\n"),
        (b"a\r\n\r\n.", b"a\r\n\r\n..\r\n.\r\n"),
    ],
)
def test_dots_are_doubled(message: bytes, sent: bytes) -> None:
    assert stuffed(message) == sent


@given(st.lists(st.sampled_from([b".", b"..", b"a", b"", b".a", b"a."])))
def test_a_receiver_gets_the_message_back(lines: list[bytes]) -> None:
    message = b"".join(line + b"\r\n" for line in lines)
    reader = DataReader()
    assert reader.feed(stuffed(message)) == message
    assert reader.done
    assert reader.rest == b""
