"""Every string of every command, quoted and as a literal of both kinds: the answers are the same (RFC 9051 4.3, RFC 7888).

Rule: a command with arguments that may be strings has a line here; `test_every_command_with_strings_is_tried` holds
that against the registry.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from imap_gateway.commands import registry
from mailboat_store_client.memory import MemoryStore

from tests.support.imap import ALICE, PASSWORD, Client, imap_gateway

MESSAGE = b'From: Ann <ann@example.test>\r\nSubject: a quo"te\r\nX-Odd: x\r\n\r\nback\\slash\r\n'
ODD = b'quo"te back\\slash'

# The text of a command, in pieces; between two of them comes a string.
SCRIPT: list[tuple[list[bytes], list[bytes]]] = [
    ([b"LOGIN ", b" ", b""], [ALICE.encode(), PASSWORD.encode()]),
    ([b"ID (", b" ", b" ", b" NIL)"], [b"name", ODD, b"version"]),
    ([b"CREATE ", b""], [b"plain"]),
    ([b"CREATE ", b""], [ODD]),
    ([b"CREATE ", b""], [b"&AOQ-/below"]),
    ([b"CREATE ", b" (USE (\\Flagged))"], [b"starred"]),
    ([b"CREATE ", b""], [b""]),
    ([b"SUBSCRIBE ", b""], [b"no where"]),
    ([b"UNSUBSCRIBE ", b""], [b"plain"]),
    ([b"LIST ", b" ", b""], [b"", b"*"]),
    ([b"LIST ", b" ", b""], [b"&AOQ-/", b"%"]),
    ([b"LIST (SUBSCRIBED) ", b" (", b" ", b") RETURN (CHILDREN STATUS (MESSAGES))"], [b"", b"quo*", b"no %"]),
    ([b"LSUB ", b" ", b""], [b"", b"*"]),
    ([b"STATUS ", b" (MESSAGES UIDNEXT)"], [ODD]),
    ([b"STATUS ", b" (MESSAGES)"], [b"missing"]),
    ([b"RENAME ", b" ", b""], [b"plain", b"other/er"]),
    ([b"APPEND ", b" (\\Flagged) {%d+}\r\n%b" % (len(MESSAGE), MESSAGE)], [b"inbox"]),
    ([b"APPEND ", b' " 2-Nov-2026 10:00:00 +0000" {%d+}\r\n%b' % (len(MESSAGE), MESSAGE)], [ODD]),
    ([b"NOTIFY SET (mailboxes ", b" (MailboxName)) (subtree (", b" ", b") NONE)"], [b"x", b"y z", b"w"]),
    ([b"NOTIFY SET (selected (MessageNew (BODY.PEEK[HEADER.FIELDS (", b")]) MessageExpunge))"], [b"Subject"]),
    ([b"NOTIFY SET (selected (MessageNew MessageExpunge FlagChange))"], []),
    ([b"GETQUOTA ", b""], [b"User quota"]),
    ([b"GETQUOTAROOT ", b""], [b"inbox"]),
    ([b"SETMETADATA ", b" (", b" ", b")"], [b"INBOX", b"/private/comment", b"all is well"]),
    ([b"GETMETADATA (DEPTH 1) ", b" (", b" ", b")"], [b"INBOX", b"/private/comment", b"/shared/comment"]),
    ([b"EXAMINE ", b""], [ODD]),
    ([b"SELECT ", b" (CONDSTORE)"], [b"InBox"]),
    ([b"FETCH 1 (BODY.PEEK[HEADER.FIELDS (", b" ", b")] UID)"], [b"Subject", b"X-Odd"]),
    ([b"FETCH 1 BODY.PEEK[HEADER.FIELDS.NOT (", b")]<0.10>"], [b"From"]),
    ([b"SEARCH FROM ", b" SUBJECT ", b""], [b"ann", b'quo"te']),
    ([b"SEARCH CHARSET ", b" TEXT ", b""], [b"UTF-8", b"back\\slash"]),
    ([b"SEARCH CHARSET ", b" ALL"], [b"no-such"]),
    ([b"UID SEARCH RETURN (COUNT) OR HEADER ", b" ", b" NOT BODY ", b""], [b"X-Odd", b"", b"none"]),
    ([b"SORT (DATE) ", b" SUBJECT ", b""], [b"UTF-8", b"a b"]),
    ([b"UID THREAD REFERENCES ", b" TEXT ", b""], [b"us-ascii", b"a b"]),
    ([b"COPY 1 ", b""], [b"other/er"]),
    ([b"UID COPY 1 ", b""], [b"missing"]),
    ([b"REPLACE 1 ", b" (\\Draft) {%d+}\r\n%b" % (len(MESSAGE), MESSAGE)], [b"inbox"]),
    ([b"MOVE 1 ", b""], [ODD]),
    ([b"DELETE ", b""], [ODD]),
    ([b"DELETE ", b""], [b"missing"]),
]

_ID = re.compile(rb"MAILBOXID \([^)]*\)")  # made anew in each run

# Commands whose arguments are atoms, numbers and flags alone, or that have none.
WITHOUT_STRINGS = frozenset(
    b"AUTHENTICATE CAPABILITY CHECK CLOSE COMPRESS ENABLE EXPUNGE IDLE LOGOUT NAMESPACE NOOP STARTTLS STORE"
    b" UNAUTHENTICATE UNSELECT".split()
)


def quoted(value: bytes) -> bytes:
    return b'"%b"' % value.replace(b"\\", b"\\\\").replace(b'"', b'\\"')


def non_synchronising(value: bytes) -> bytes:
    return b"{%d+}\r\n%b" % (len(value), value)


async def answers(client: Client, write: Callable[[bytes], bytes] | None) -> list[list[bytes]]:
    """What the whole script is answered; `write` None: with literals that wait for their `+`."""
    found = []
    for number, (pieces, values) in enumerate(SCRIPT):
        tag = b"l%d " % number
        if write is not None:
            strings = [write(value) for value in values]
            client.send(tag + b"".join(a + b for a, b in zip(pieces, [*strings, b""], strict=True)) + b"\r\n")
        else:
            client.send(tag)
            for piece, value in zip(pieces, values, strict=False):
                client.send(piece + b"{%d}\r\n" % len(value))
                assert await client.response() == b"+ OK"
                client.send(value)
            client.send(pieces[-1] + b"\r\n")
        found.append([_ID.sub(b"MAILBOXID (...)", line) for line in await client.until(tag)])
    return found


async def play(write: Callable[[bytes], bytes] | None) -> list[list[bytes]]:
    store = MemoryStore(clock=lambda: 1_793_613_600_000)
    store.add_account(ALICE, PASSWORD)
    async with imap_gateway(store) as running:
        return await answers(await running.connect(), write)


@pytest.mark.parametrize("write", [non_synchronising, None])
async def test_a_literal_is_answered_as_a_quoted_string_is(write: Callable[[bytes], bytes] | None) -> None:
    expected = await play(quoted)
    assert await play(write) == expected
    results = [lines[-1].split()[1] for lines in expected]
    assert results.count(b"OK") == len(SCRIPT) - 5, results
    assert results.count(b"NO") + results.count(b"BAD") == 5, results


def test_every_command_with_strings_is_tried() -> None:
    tried = {pieces[0].removeprefix(b"UID ").split()[0] for pieces, _ in SCRIPT}
    known = {entry.name for entry in registry.entries()}
    assert tried | WITHOUT_STRINGS >= known, known - tried - WITHOUT_STRINGS
    assert not tried & WITHOUT_STRINGS
