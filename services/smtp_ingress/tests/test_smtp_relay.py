"""Who may send what to whom: every combination of the tables in docs/access.md, on a real server."""

from __future__ import annotations

import base64
import itertools

import pytest

from tests.support.documents import quoted, section, table

SENDERS = {
    "her own": ("alice@example.test", "Alice+tag@Example.Test"),
    "her alias": ("sales@example.test",),
    "somebody else's here": ("bob@example.test", "postmaster@example.test", "everyone@example.test"),
    "elsewhere": ("ann@elsewhere.example", "alice@example.test.elsewhere.example"),
    "null": ("",),
}
RECIPIENTS = {
    "an account": ("bob@example.test", "BOB+tag@example.test", "postmaster@example.test"),
    "an alias": ("sales@example.test",),
    "a group for anyone": ("everyone@example.test",),
    "a group for its members, of whom the sender is one": ("hers@example.test",),
    "a group for its members, of whom the sender is none": ("his@example.test",),
    "a group for its domain": ("staff@example.test",),
    "nobody here": ("nobody@example.test", "ann%elsewhere.example@example.test"),
    "elsewhere": ("ann@elsewhere.example", "bob@sub.example.test"),
}
FROMS = {
    "her own": b"From: Alice <alice@example.test>\r\n",
    "her alias": b"From: sales@example.test\r\n",
    "somebody else's here": b"From: Alice <bob@example.test>\r\n",
    "elsewhere": b'From: "alice@example.test" <ann@elsewhere.example>\r\n',
    "her own and somebody else's": b"From: alice@example.test, bob@example.test\r\nSender: alice@example.test\r\n",
    "two fields, the second elsewhere": b"From: alice@example.test\r\nFROM: ann@elsewhere.example\r\n",
    "none": b"Sender: alice@example.test\r\n",
}
PASSWORD = "secret-enough"


def cells(head: str) -> dict[str, list[str]]:
    return {row[0]: row[1:] for row in table("docs/access.md", head)}


CONNECTIONS, TO, FROM = cells("connection"), cells("recipient"), cells("From")


def login(address: str = "alice@example.test", password: str = PASSWORD) -> str:
    return "AUTH PLAIN " + base64.b64encode(f"\0{address}\0{password}".encode()).decode()


async def reach(ingress, connection: str):
    """A connection as the table names it, with EHLO said."""
    port, *how = connection.replace(" over", ", over").split(", ")
    name = {"25": "smtp", "587": "submission", "465": "submissions"}[port]
    wire = await ingress.connect(name, tls=port == "465")
    await wire.say("EHLO client.example")
    if "over TLS" in how:
        assert (await wire.say("STARTTLS")).startswith("220")
        await wire.start_tls(ingress.context)
        await wire.say("EHLO client.example")
    if "logged in" in how:
        assert (await wire.say(login())).startswith("235")
    return wire


@pytest.fixture
async def people(ingress):
    """Alice with an alias, bob, and a group of each kind."""
    store = ingress.store
    store.add_account("bob@example.test", "another-secret")
    store.add_alias("sales@example.test", ingress.account)
    store.add_group("everyone@example.test", ["alice@example.test", "bob@example.test"])
    store.add_group("hers@example.test", ["alice@example.test", "sales@example.test"], "members")
    store.add_group("his@example.test", ["bob@example.test"], "members")
    store.add_group("staff@example.test", ["bob@example.test"], "domain")
    return ingress


def test_the_tables_have_the_rows_that_are_tried() -> None:
    assert list(RECIPIENTS) == list(TO)
    assert list(FROMS) == list(FROM)
    assert len(CONNECTIONS) == 7
    assert {len(row) for row in CONNECTIONS.values()} == {1 + len(SENDERS)}
    named = section("docs/access.md", "SMTP: who may send what to whom")
    assert {"alice@", "sales@", "bob@"} <= set(quoted(named))


async def outcome(wire, sender: str, recipient: str, header: bytes) -> tuple[str, ...]:
    """The replies to MAIL, RCPT and the data, as far as it comes; the session is left without a transaction."""
    replies = [await wire.say(f"MAIL FROM:<{sender}>")]
    if replies[-1].startswith("250"):
        replies.append(await wire.say(f"RCPT TO:<{recipient}>"))
    if len(replies) == 2 and replies[-1].startswith("250"):
        assert (await wire.say("DATA")).startswith("354")
        wire.send(header + b"Subject: s\r\n\r\nx\r\n.\r\n")
        replies.append(await wire.reply())
    await wire.say("RSET")
    return tuple(replies)


@pytest.mark.parametrize("connection", CONNECTIONS)
async def test_every_combination_is_as_the_tables_say(people, connection: str) -> None:
    auth, *senders = CONNECTIONS[connection]
    inside = connection.endswith("logged in")
    combinations = [
        (kind, sender, to, recipient, header)
        for (kind, own), (to, addresses) in itertools.product(SENDERS.items(), RECIPIENTS.items())
        for sender, recipient, header in itertools.product(own, addresses, FROMS)
    ]
    wire, tried = await reach(people, connection), 0
    for kind, sender, to, recipient, header in combinations:
        if tried == 12:  # a session ends at its 20th error
            await wire.say("QUIT")
            wire, tried = await reach(people, connection), 0
        tried += 1
        expected = [senders[list(SENDERS).index(kind)]]
        if expected[-1] == "250":
            expected.append(TO[to][inside])
        if expected[-1] == "250" and len(expected) == 2:
            expected.append(FROM[header][inside])
        replies = await outcome(wire, sender, recipient, FROMS[header])
        assert len(replies) == len(expected), (sender, recipient, header, replies)
        for reply, start in zip(replies, expected, strict=True):
            assert reply.startswith(start), (sender, recipient, header, replies)
    assert (await (await reach(people, connection)).say(login())).startswith(auth)
    assert bool(people.store.queue.jobs()) is inside, "mail for others is queued for whoever logged in, and nobody else"


async def test_a_failed_login_opens_nothing(people) -> None:
    wire = await reach(people, "465")
    assert (await wire.say(login(password="wrong"))).startswith("535")
    assert (await wire.say("MAIL FROM:<alice@example.test>")).startswith("530")
    assert (await wire.say(login("bob@example.test"))).startswith("535"), "alice's password"


async def test_a_member_elsewhere_is_known_by_the_envelope(people) -> None:
    people.store.add_group("guests@example.test", ["ann@elsewhere.example"], "members")
    wire = await reach(people, "25")
    for sender, start in (("ann@elsewhere.example", "250"), ("eve@elsewhere.example", "550 5.7.1"), ("", "550 5.7.1")):
        assert (await wire.say(f"MAIL FROM:<{sender}>")).startswith("250")
        assert (await wire.say("RCPT TO:<guests@example.test>")).startswith(start), sender
        await wire.say("RSET")


async def test_a_login_before_tls_is_forgotten_by_it(start) -> None:
    """RFC 3207 4.2, where the settings take passwords in clear text."""
    ingress = await start(auth_require_tls=False)
    wire = await reach(ingress, "587")
    assert (await wire.say(login())).startswith("235")
    assert (await wire.say("STARTTLS")).startswith("220")
    await wire.start_tls(ingress.context)
    await wire.say("EHLO client.example")
    assert (await wire.say("MAIL FROM:<alice@example.test>")).startswith("530")
