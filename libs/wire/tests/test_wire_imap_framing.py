"""Where commands end: literals, limits and broken lines, with every chunking."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mailboat_wire.imap import (
    UNAUTHENTICATED,
    AppendEnd,
    AppendFrame,
    ContinuationLine,
    Fault,
    Frame,
    ImapReceiver,
    Limits,
    Literal,
    LiteralChunk,
    NeedContinuation,
)

NOOP = b"n NOOP\r\n"
AFTER = Frame(b"n", (b"n NOOP",))


def frame(tag, *texts, literals=()):
    return Frame(tag, texts, tuple(Literal(*each) for each in literals))


GOOD = [
    (b"a NOOP\r\n", [frame(b"a", b"a NOOP")]),
    (b"a NOOP\r\nb NOOP\r\n", [frame(b"a", b"a NOOP"), frame(b"b", b"b NOOP")]),
    (b"\r\n", [frame(b"*", b"")]),
    (b" x\r\n", [frame(b"*", b" x")]),
    (b"a+ NOOP\r\n", [frame(b"*", b"a+ NOOP")]),
    (b"a" * 129 + b" NOOP\r\n", [frame(b"*", b"a" * 129 + b" NOOP")]),
    (
        b"a LOGIN {3}\r\nbob {4}\r\npass\r\n",
        [
            NeedContinuation(3),
            NeedContinuation(4),
            frame(b"a", b"a LOGIN ", b" ", b"", literals=[(b"bob",), (b"pass",)]),
        ],
    ),
    (
        b"a LOGIN {3+}\r\nbob {0+}\r\n\r\n",
        [frame(b"a", b"a LOGIN ", b" ", b"", literals=[(b"bob",), (b"",)])],
    ),
    (b"a X {7+}\r\n{3}\r\n\r\n\r\n", [frame(b"a", b"a X ", b"", literals=[(b"{3}\r\n\r\n",)])]),
    (b"a X ~{3+}\r\n\x00\r\n\r\n", [frame(b"a", b"a X ", b"", literals=[(b"\x00\r\n", True)])]),
    (b"a X {-1}\r\n" + NOOP, [frame(b"a", b"a X {-1}"), AFTER]),
    (b"a X {}\r\n" + NOOP, [frame(b"a", b"a X {}"), AFTER]),
    (b"a X {5} \r\n" + NOOP, [frame(b"a", b"a X {5} "), AFTER]),
    (b"i IDLE\r\nDONE\r\n" + NOOP, [frame(b"i", b"i IDLE"), ContinuationLine(b"DONE"), AFTER]),
    (b"i IDLE\r\na X {3}\r\n" + NOOP, [frame(b"i", b"i IDLE"), ContinuationLine(b"a X {3}"), AFTER]),
]


@pytest.mark.parametrize(("data", "expected"), GOOD)
def test_commands_are_framed(imap_events, data, expected):
    assert imap_events(data) == expected


APPENDS = [
    (
        b"a APPEND box {5}\r\nhello\r\n" + NOOP,
        [
            AppendFrame(b"a", (b"a APPEND box ",), (), 5, False, False),
            b"+ OK\r\n",
            b"hello",
            AppendEnd(b"a", b""),
            AFTER,
        ],
    ),
    (
        b"a append {3+}\r\nbox (\\Seen) {0+}\r\n\r\n" + NOOP,
        [
            AppendFrame(b"a", (b"a append ", b" (\\Seen) "), (Literal(b"box"),), 0, False, False),
            b"",
            b"",
            AppendEnd(b"a", b""),
            AFTER,
        ],
    ),
    (
        b"a APPEND box {2+}\r\nhi {3}\r\nyou junk\r\n" + NOOP,
        [
            AppendFrame(b"a", (b"a APPEND box ",), (), 2, False, False),
            b"",
            b"hi",
            AppendFrame(b"a", (b" ",), (), 3, False, True),
            b"+ OK\r\n",
            b"you",
            AppendEnd(b"a", b" junk"),
            AFTER,
        ],
    ),
    (
        b"a REPLACE 4 box (\\Seen) {5}\r\nhello\r\n" + NOOP,
        [
            AppendFrame(b"a", (b"a REPLACE 4 box (\\Seen) ",), (), 5, False, False),
            b"+ OK\r\n",
            b"hello",
            AppendEnd(b"a", b""),
            AFTER,
        ],
    ),
    (
        b"a uid replace * {3+}\r\nbox ~{501+}\r\n" + b"q" * 501 + b"\r\n" + NOOP,
        [
            AppendFrame(b"a", (b"a uid replace * ", b" "), (Literal(b"box"),), 501, True, False),
            b"",
            b"q" * 501,
            AppendEnd(b"a", b""),
            AFTER,
        ],
    ),
    (
        b"a REPLACE {1+}\r\n4 box {2+}\r\nhi\r\n" + NOOP,
        [frame(b"a", b"a REPLACE ", b" box ", b"", literals=[(b"4",), (b"hi",)]), AFTER],
    ),
    (
        b"a APPEND box UTF8 (~{2+}\r\n\xff\x00)\r\n",
        [
            AppendFrame(b"a", (b"a APPEND box UTF8 (",), (), 2, True, False),
            b"",
            b"\xff\x00",
            AppendEnd(b"a", b")"),
        ],
    ),
]


@pytest.mark.parametrize(("data", "expected"), APPENDS)
def test_append_streams_its_message(imap_events, data, expected):
    assert imap_events(data) == expected


@pytest.mark.parametrize(
    "sent",
    [
        b"a APPEND box {9}\r\n",  # it waited for our word and gave up
        b"a APPEND box {9+}\r\nq LOGOUT\r {3+}\r\nxyz {4+}\r\n\r\nz \r\n",  # it had sent all without waiting
    ],
)
def test_a_refused_append_leaves_the_stream_in_place(imap_events, sent):
    seen = imap_events(sent + NOOP, refuse=True)
    assert seen == [AppendFrame(b"a", (b"a APPEND box ",), (), 9, False, False), AFTER]


FAULTS = [
    # bare LF
    (b"a NOOP\n", b"a BAD Lines end with CRLF\r\n"),
    (b"\n", b"* BAD Lines end with CRLF\r\n"),
    (b"a X {3+}\nq A\r\n", b"a BAD Lines end with CRLF\r\n"),
    (b"a X {3}\n", b"a BAD Lines end with CRLF\r\n"),
    # too long
    (b"a X " + b"y" * 2000 + b"\r\n", b"a BAD [TOOBIG] Line too long\r\n"),
    (b"a X " + b"y" * 1500 + b"{3+}\r\nq A\r\n", b"a BAD [TOOBIG] Line too long\r\n"),
    (b"a X " + b"y" * 1500 + b"{3}\r\n", b"a BAD [TOOBIG] Line too long\r\n"),
    (b"a X " + b"y" * 997 + b"\r\n", b"a BAD [TOOBIG] Line too long\r\n"),
    (b"a " + b"{0+}\r\n" * 300 + b"\r\n", b"a BAD [TOOBIG] Line too long\r\n"),
    # literals
    (b"a X {501}\r\n", b"a BAD [TOOBIG] Literal too large\r\n"),
    (b"a X {501+}\r\n" + b"q" * 501 + b"\r\n", b"a BAD [TOOBIG] Literal too large\r\n"),
    (
        b"a X {500+}\r\n" + b"q" * 500 + b" {301+}\r\n" + b"\n" * 301 + b" {2}\r\n",
        b"a BAD [TOOBIG] Literal too large\r\n",
    ),
    (b"a APPEND box {10001}\r\n", b"a NO [TOOBIG] Message too large\r\n"),
]


@pytest.mark.parametrize(("data", "response"), FAULTS)
def test_a_broken_command_is_answered_and_the_next_one_understood(imap_events, data, response):
    assert imap_events(data + NOOP) == [Fault(response, fatal=False), AFTER]


def test_a_line_of_just_the_limit_is_taken(imap_events):
    line = b"a X " + b"y" * 996
    assert imap_events(line + b"\r\n" + NOOP) == [Frame(b"a", (line,)), AFTER]


@pytest.mark.parametrize(
    ("data", "response"),
    [
        (b"a X {4294967296+}\r\n", b"a BAD [TOOBIG] Literal too large\r\n* BYE [TOOBIG] Literal too large\r\n"),
        (
            b"a X {99999999999999999999+}\r\n",
            b"a BAD [TOOBIG] Literal too large\r\n* BYE [TOOBIG] Literal too large\r\n",
        ),
        (b"a APPEND b {4294967296+}\r\n", b"a NO [TOOBIG] Message too large\r\n* BYE [TOOBIG] Literal too large\r\n"),
    ],
)
def test_a_huge_literal_that_does_not_wait_ends_the_connection(imap_events, data, response):
    assert imap_events(data + b"x" * 5000 + NOOP) == [Fault(response, fatal=True)]


@pytest.mark.parametrize("size", [b"4294967296", b"99999999999999999999"])
def test_a_huge_literal_that_waits_is_refused_before_it_comes(imap_events, size):
    seen = imap_events(b"a X {" + size + b"}\r\n" + NOOP)
    assert seen == [Fault(b"a BAD [TOOBIG] Literal too large\r\n", fatal=False), AFTER]


def test_an_endless_line_ends_the_connection(imap_events):
    seen = imap_events(b"a " + b"x" * 6000)
    assert [event.fatal for event in seen] == [False, True]
    assert seen[1].response.startswith(b"* BYE ")


def test_many_refused_literals_end_the_connection(imap_events):
    seen = imap_events(b"a X {600+}\r\n" + (b"x" * 600 + b" {600+}\r\n") * 6)
    assert [event.fatal for event in seen] == [False, True]


def test_an_endless_continuation_line_is_refused(imap_events):
    seen = imap_events(b"i IDLE\r\n" + b"x" * 1500 + b"\r\n" + NOOP)
    assert seen[1:] == [Fault(b"i BAD [TOOBIG] Line too long\r\n", fatal=False), AFTER]


def test_a_continuation_line_with_a_bare_lf_is_refused(imap_events):
    seen = imap_events(b"i IDLE\r\nDONE\n" + NOOP)
    assert seen[1:] == [Fault(b"i BAD Lines end with CRLF\r\n", fatal=False), AFTER]


def test_before_login_an_append_is_like_any_command(imap_events):
    assert imap_events(b"a APPEND box {5000}\r\n" + NOOP, UNAUTHENTICATED) == [
        Fault(b"a BAD [TOOBIG] Literal too large\r\n", fatal=False),
        AFTER,
    ]


def test_waiting_input_is_bounded_by_back_pressure():
    limits = Limits(line=100, literal=5000, literals=5000, append=10**9, buffered=200)
    receiver = ImapReceiver(limits)
    receiver.receive_data(b"a NOOP\r\n" * 50)
    assert not receiver.wants_data
    while receiver.next_event() is not None:
        pass
    assert receiver.wants_data
    receiver.receive_data(b"a X {5000+}\r\n" + b"x" * 4999)
    assert receiver.next_event() is None
    assert receiver.wants_data  # the rest of a literal within its limit is waited for
    receiver.receive_data(b"x\r\n")
    assert isinstance(receiver.next_event(), Frame)


def test_a_message_is_handed_out_as_it_comes_and_held_while_undecided():
    receiver = ImapReceiver(Limits(append=10**9, buffered=200))
    receiver.receive_data(b"a APPEND b {1000000+}\r\n" + b"x" * 500)
    assert isinstance(receiver.next_event(), AppendFrame)
    assert receiver.next_event() is None
    assert not receiver.wants_data
    assert receiver.accept_literal() == b""
    assert receiver.next_event() == LiteralChunk(b"x" * 500, last=False)
    assert receiver.next_event() is None
    assert receiver.buffered == 0
    receiver.receive_data(b"y" * 70_000)
    assert receiver.next_event() == LiteralChunk(b"y" * 70_000, last=False)


def test_commands_injected_before_starttls_are_seen():
    receiver = ImapReceiver()
    receiver.receive_data(b"a STARTTLS\r\nb LOGIN evil evil\r\n")
    assert receiver.next_event() == Frame(b"a", (b"a STARTTLS",))
    assert receiver.take_buffered() == b"b LOGIN evil evil\r\n"
    assert receiver.next_event() is None


def test_between_commands_tells_where_a_bye_fits():
    receiver = ImapReceiver()
    assert receiver.between_commands
    receiver.receive_data(b"a LOGIN {3+}\r\nbo")
    assert receiver.next_event() is None
    assert not receiver.between_commands
    receiver.receive_data(b"b x\r\n")
    assert receiver.next_event() is not None
    assert receiver.between_commands


def test_misuse_is_an_error():
    receiver = ImapReceiver()
    with pytest.raises(RuntimeError):
        receiver.accept_literal()
    with pytest.raises(RuntimeError):
        receiver.refuse_literal()
    receiver.receive_data(b"a X {3+}\r\n")
    assert receiver.next_event() is None
    with pytest.raises(RuntimeError):
        receiver.expect_line()


TOKENS = (
    *(b"a", b" ", b"\r\n", b"\n", b"\r", b"{3}", b"{3+}", b"~{2+}", b"{9999999+}", b"APPEND ", b"b ", b"IDLE"),
    *(b"\0", b"\xff", b"x" * 90, b"(", b'"', b"\\", b"*", b"UTF8 ("),
)
hostile = st.lists(st.sampled_from(TOKENS), max_size=40).map(b"".join)


@given(hostile, st.integers(1, 9), st.booleans())
def test_anything_gives_events_and_nothing_is_kept(data, step, refuse):
    limits = Limits(line=80, literal=50, literals=60, append=100, discard=200, buffered=100)
    receiver = ImapReceiver(limits)
    dead = False
    for place in range(0, len(data), step):
        receiver.receive_data(data[place : place + step])
        while (event := receiver.next_event()) is not None:
            assert not dead
            if isinstance(event, AppendFrame):
                if refuse:
                    receiver.refuse_literal()
                else:
                    receiver.accept_literal()
            elif isinstance(event, Fault):
                assert event.response.endswith(b"\r\n")
                dead = event.fatal
            elif isinstance(event, Frame):
                assert len(event.texts) == len(event.literals) + 1
                assert sum(map(len, event.texts)) <= limits.line
        assert receiver.buffered <= limits.line + step + 2
        assert receiver.wants_data


@given(hostile)
def test_chunking_changes_nothing_but_when(data):
    def seen(step):
        # What a fatal fault says of a refused command may come in one line or two, so compare up to it.
        receiver = ImapReceiver(Limits(line=200, literal=50, literals=60, append=100, discard=10**8, buffered=300))
        out = []
        message = b""
        for place in range(0, len(data), step):
            receiver.receive_data(data[place : place + step])
            while (event := receiver.next_event()) is not None:
                if isinstance(event, AppendFrame):
                    receiver.accept_literal()
                if isinstance(event, LiteralChunk):
                    message += event.data
                    if event.last:
                        out.append(message)
                        message = b""
                else:
                    out.append(event)
        return out

    assert seen(1) == seen(len(data) + 1) == seen(3)
