"""NOTIFY's grammar, RFC 5465 section 8."""

import pytest
from mailboat_wire.imap import BadCommand, Frame, ImapReceiver, Limits, parse_command
from mailboat_wire.imap import types as t
from mailboat_wire.imap.types import EventGroup, FetchItem, FetchSection, MailboxFilter, Section, SectionText

BOTH = (b"MESSAGENEW", b"MESSAGEEXPUNGE")


def parse(line: bytes, *, utf8: bool = False) -> t.Command:
    receiver = ImapReceiver(Limits())
    receiver.receive_data(b"a " + line + b"\r\n")
    event = receiver.next_event()
    assert isinstance(event, Frame)
    return parse_command(event, utf8=utf8)


COMMANDS = [
    (b"NOTIFY NONE", t.Notify(b"a")),
    (
        b"notify set (selected (MessageNew MessageExpunge))",
        t.Notify(b"a", (EventGroup(MailboxFilter.SELECTED, events=BOTH),)),
    ),
    (
        b"NOTIFY SET STATUS (Selected-Delayed NONE) (subtree Lists (messagenew messageexpunge))",
        t.Notify(
            b"a",
            (
                EventGroup(MailboxFilter.SELECTED_DELAYED),
                EventGroup(MailboxFilter.SUBTREE, ("Lists",), BOTH),
            ),
            True,
        ),
    ),
    (
        b"NOTIFY SET (selected (MessageNew (uid body.peek[header.fields (from to)]) MessageExpunge FlagChange))",
        t.Notify(
            b"a",
            (
                EventGroup(
                    MailboxFilter.SELECTED,
                    (),
                    (*BOTH, b"FLAGCHANGE"),
                    (
                        FetchItem(b"UID"),
                        FetchSection(
                            b"BODY[",
                            Section((), SectionText.HEADER_FIELDS, (b"from", b"to")),
                            True,
                        ),
                    ),
                ),
            ),
        ),
    ),
    (
        b'NOTIFY SET (mailboxes (inbox "a b" inbox {1+}\r\nc) (MailboxName X-Unknown X-Unknown)) (inboxes NONE)'
        b" (personal (SubscriptionChange)) (subscribed NONE)",
        t.Notify(
            b"a",
            (
                EventGroup(MailboxFilter.MAILBOXES, ("INBOX", "a b", "c"), (b"MAILBOXNAME", b"X-UNKNOWN")),
                EventGroup(MailboxFilter.INBOXES),
                EventGroup(MailboxFilter.PERSONAL, events=(b"SUBSCRIPTIONCHANGE",)),
                EventGroup(MailboxFilter.SUBSCRIBED),
            ),
        ),
    ),
]


@pytest.mark.parametrize(("line", "command"), COMMANDS)
def test_notify(line: bytes, command: t.Command) -> None:
    assert parse(line) == command


@pytest.mark.parametrize(
    "arguments",
    [
        *(b"", b" ", b" NONE ", b" NONE x", b" X", b" SET", b" SET ", b" SET STATUS", b" SET STATUS ", b" SET ()"),
        *(b" SET STATUS ()", b" SET X (personal NONE)", b" SET (x NONE)", b" SET (personal)", b" SET (personal )"),
        *(
            b" SET (personal MessageNew)",
            b" SET (personal ())",
            b" SET (personal (MessageNew) )",
            b" SET (personal NONE",
        ),
        *(
            b" SET (personal NONE) ",
            b" SET (personal NONE)(inboxes NONE)",
            b" SET (subtree NONE)",
            b" SET (subtree () NONE)",
        ),
        *(b" SET (mailboxes (a NONE)", b" SET (mailboxes a b NONE)", b" SET (personal (MessageNew ()))"),
        *(b" SET (personal (MessageExpunge (UID)))", b" SET (personal (MessageNew (UID) (FLAGS)))"),
        *(b" SET (personal (MessageNew (UID FLAGS))", b" SET STATUS STATUS (personal NONE)", b" NONE (personal NONE)"),
        b" SET (personal (MessageNew (BODY[X])))",
    ],
)
def test_bad_notify(arguments: bytes) -> None:
    with pytest.raises(BadCommand):
        parse(b"NOTIFY" + arguments)


def test_names_follow_what_is_enabled() -> None:
    expected = (EventGroup(MailboxFilter.MAILBOXES, ("ä",), ()),)
    assert parse(b"NOTIFY SET (mailboxes &AOQ- NONE)") == t.Notify(b"a", expected)
    assert parse('NOTIFY SET (mailboxes "ä" NONE)'.encode(), utf8=True) == t.Notify(b"a", expected)


@pytest.mark.parametrize("line", [b"COMPRESS", b"COMPRESS ", b"COMPRESS DEFLATE 9", b"UNAUTHENTICATE x"])
def test_bad_compress_and_unauthenticate(line: bytes) -> None:
    with pytest.raises(BadCommand):
        parse(line)
