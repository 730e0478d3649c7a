"""SMTP sessions against a real server: what is legal when, and what every rule answers."""

from __future__ import annotations

import asyncio
import base64
import smtplib

import pytest
from mailboat_common.errors import Unavailable

MESSAGE = b"From: Ann <ann@elsewhere.example>\r\nTo: alice@example.test\r\nSubject: Hello\r\n\r\nHello there.\r\n"


def plain(login: str = "alice@example.test", password: str = "secret-enough") -> str:
    return base64.b64encode(f"\0{login}\0{password}".encode()).decode()


async def send(
    wire, message: bytes, recipient: str = "alice@example.test", sender: str = "ann@elsewhere.example"
) -> str:
    assert (await wire.say(f"MAIL FROM:<{sender}>")).startswith("250")
    assert (await wire.say(f"RCPT TO:<{recipient}>")).startswith("250")
    assert (await wire.say("DATA")).startswith("354")
    wire.send(message + b".\r\n")
    return await wire.reply()


async def test_a_message_is_filed_to_the_byte_behind_our_trace_fields(ingress) -> None:
    wire = await ingress.connect()
    await wire.say("EHLO client.example")
    answer = await send(wire, MESSAGE.replace(b"Hello there.", b"..Hello\r\n.. there."))
    assert answer.startswith("250 2.0.0 Ok: id ")
    (stored,) = await ingress.inbox()
    fields, sep, rest = stored.partition(b"From: Ann")
    assert (sep + rest) == MESSAGE.replace(b"Hello there.", b".Hello\r\n. there.")
    lines = fields.decode().split("\r\n")
    assert lines[0] == "Return-Path: <ann@elsewhere.example>"
    assert lines[1] == "Received: from client.example ([127.0.0.1])"
    assert lines[2] == "\tby mx.example.test with ESMTP"
    assert lines[3].split()[1] == answer.rsplit(" ", 1)[1]
    assert lines[3].endswith("for <alice@example.test>;") or "for <alice@example.test>;" in lines[4]


async def test_ehlo_announces_what_the_port_can_do(ingress) -> None:
    keywords = {}
    for name, tls in (("smtp", False), ("submission", False), ("submissions", True)):
        wire = await ingress.connect(name, tls=tls)
        keywords[name] = {line[4:] for line in (await wire.say("EHLO x")).split("\n")[1:]}
    common = {"PIPELINING", "SIZE 52428800", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "CHUNKING", "DSN"}
    assert keywords["smtp"] == common | {"STARTTLS"}
    assert keywords["submission"] == common | {"STARTTLS"}
    assert keywords["submissions"] == common | {"AUTH PLAIN LOGIN"}


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["MAIL FROM:<a@b.example>"], "503 5.5.1"),
        (["EHLO"], "501 5.5.4"),
        (["HELO x", "MAIL FROM:<a@b.example>"], "250 2.1.0"),
        (["EHLO x", "MAIL FROM:<>"], "250 2.1.0"),
        (["EHLO x", "MAIL FROM:<a@b.example> SIZE=99999999999"], "552 5.3.4"),
        (["EHLO x", "MAIL FROM:<a@b.example> SIZE=x"], "501 5.5.4"),
        (["EHLO x", "MAIL FROM:<a@b.example> NONSENSE=1"], "555 5.5.4"),
        (["EHLO x", "MAIL FROM:<a@b.example> BODY=BINARYMIME"], "555 5.5.4"),
        (["EHLO x", "MAIL FROM:a b c"], "501"),
        (["EHLO x", "MAIL FROM:<a@b.example>", "MAIL FROM:<a@b.example>"], "503 5.5.1"),
        (["EHLO x", "RCPT TO:<alice@example.test>"], "503 5.5.1"),
        (["EHLO x", "DATA"], "503 5.5.1"),
        (["EHLO x", "MAIL FROM:<a@b.example>", "DATA"], "554 5.5.1"),
        (["EHLO x", "MAIL FROM:<a@b.example>", "RCPT TO:<nobody@example.test>"], "550 5.1.1"),
        (["EHLO x", "MAIL FROM:<a@b.example>", "RCPT TO:<x@elsewhere.example>"], "550 5.7.1"),
        (["EHLO x", "MAIL FROM:<a@b.example>", "RCPT TO:<@elsewhere.example:alice@example.test>"], "250 2.1.5"),
        (["EHLO x", "MAIL FROM:<a@b.example>", "RCPT TO:<alice%elsewhere.example@example.test>"], "550 5.1.1"),
        (["EHLO x", "MAIL FROM:<a@b.example>", "RCPT TO:<ALICE+tag@Example.Test>"], "250 2.1.5"),
        (["EHLO x", "MAIL FROM:<a@b.example>", "RCPT TO:<postmaster@example.test>"], "250 2.1.5"),
        (["EHLO x", "MAIL FROM:<a@b.example>", "RCPT TO:<>"], "501 5.1.3"),
        (["EHLO x", "MAIL FROM:<a@b.example>", "RCPT TO:<gr\u00fc@example.test>"], "553 5.6.7"),
        (
            ["EHLO x", "MAIL FROM:<a@b.example> RET=HDRS ENVID=q", "RCPT TO:<alice@example.test> NOTIFY=NEVER"],
            "250 2.1.5",
        ),
        (["EHLO x", "AUTH PLAIN " + plain()], "503 5.5.1"),
        (["EHLO x", "VRFY alice"], "252 2.5.2"),
        (["EHLO x", "NOOP whatever"], "250 2.0.0"),
        (["EHLO x", "RSET"], "250 2.0.0"),
        (["EHLO x", "RSET now"], "501 5.5.4"),
        (["HELP"], "214 2.0.0"),
        (["WHAT"], "500 5.5.2"),
        (["EHLO x", "STARTTLS now"], "501 5.5.4"),
        (["EHLO x", "QUIT"], "221 2.0.0"),
    ],
)
async def test_replies(ingress, lines: list[str], expected: str) -> None:
    wire = await ingress.connect()
    for line in lines:
        answer = await wire.say(line)
    assert answer.startswith(expected)
    assert await ingress.inbox() == []


@pytest.mark.parametrize(
    "end", [b"\n.\n", b"\r.\r", b"\n.\r\n", b"\r\n.\n", b"\r\n.\r", b"\r\n\x00.\r\n", b"\r.\r\n", b"\n\n.\r\n"]
)
@pytest.mark.parametrize("bytewise", [False, True])
async def test_only_crlf_dot_crlf_ends_data_and_bare_line_ends_are_refused_whole(
    ingress, end: bytes, bytewise: bool
) -> None:
    wire = await ingress.connect()
    await wire.say("EHLO x")
    await wire.say("MAIL FROM:<ann@elsewhere.example>")
    await wire.say("RCPT TO:<alice@example.test>")
    await wire.say("DATA")
    smuggled = (
        b"MAIL FROM:<evil@x.example>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n.\r\n"
    )
    whole = b"Subject: a\r\n\r\nbody" + end + smuggled
    for piece in [whole[i : i + 1] for i in range(len(whole))] if bytewise else [whole]:
        wire.send(piece)
        await wire.writer.drain()
    assert (await wire.reply()).startswith("550 5.6.0")
    assert (await wire.say("NOOP")).startswith("250"), "nothing of the message was taken for a command"
    assert await ingress.inbox() == []


async def test_pipelined_whole_and_byte_at_a_time(ingress) -> None:
    script = (
        b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<nobody@example.test>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n"
        b"Subject: p\r\n\r\n..dot\r\n.\r\nQUIT\r\n"
    )
    seen = []
    for size in (len(script), 1):
        wire = await ingress.connect()
        for i in range(0, len(script), size):
            wire.send(script[i : i + size])
            await wire.writer.drain()
        answer = (await wire.rest()).decode()
        seen.append([line[:3] for line in answer.split("\r\n") if line[3:4] == " "])
    assert seen[0] == seen[1] == ["250", "250", "550", "250", "354", "250", "221"]
    assert [m.endswith(b"Subject: p\r\n\r\n.dot\r\n") for m in await ingress.inbox()] == [True, True], (
        "QUIT confirmed the first"
    )


async def test_commands_before_the_handshake_are_thrown_away(ingress) -> None:
    wire = await ingress.connect("submission")
    await wire.say("EHLO x")
    wire.send(b"STARTTLS\r\nRSET\r\nEHLO injected\r\n")
    assert (await wire.reply()).startswith("220")
    await wire.start_tls(ingress.context)
    assert (await wire.say("MAIL FROM:<a@b.example>")).startswith("503 5.5.1"), "the EHLO from before is forgotten"
    assert "AUTH PLAIN LOGIN" in await wire.say("EHLO x")
    assert (await wire.say("STARTTLS")).startswith("503")


async def test_mail_for_other_servers_is_queued_with_what_its_sender_asked_for(ingress) -> None:
    wire = await ingress.connect("submission")
    await wire.say("EHLO x")
    await wire.say("STARTTLS")
    await wire.start_tls(ingress.context)
    await wire.say("EHLO x")
    await wire.say("AUTH PLAIN " + plain())
    assert (await wire.say("MAIL FROM:<alice@example.test> RET=HDRS ENVID=QQ1 BODY=8BITMIME")).startswith("250")
    notify = "RCPT TO:<far@elsewhere.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;far@elsewhere.example"
    assert (await wire.say(notify)).startswith("250 2.1.5")
    assert (await wire.say("RCPT TO:<near@other.example>")).startswith("250 2.1.5")
    await wire.say("DATA")
    wire.send(b"From: alice@example.test\r\nSubject: s\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n.\r\n")
    assert (await wire.reply()).startswith("250 2.0.0 Ok: id ")
    jobs = ingress.store.queue.jobs()
    far, near = await ingress.store.queue.claim(jobs, "w", max_bytes=1 << 20, key=bytes(16))
    (recipient,) = far.recipients
    assert (recipient.notify, recipient.orcpt) == ("SUCCESS,DELAY", "rfc822;far@elsewhere.example")
    assert (far.ret, far.envid, far.eight_bit, far.smtputf8) == ("HDRS", "QQ1", True, False)
    assert [one.address for one in near.recipients] == ["near@other.example"]
    assert b" with ESMTPSA (TLSv1.3 " in far.content


async def test_submission_wants_tls_then_a_login_then_an_own_sender(ingress) -> None:
    wire = await ingress.connect("submission")
    await wire.say("EHLO x")
    assert (await wire.say("MAIL FROM:<alice@example.test>")).startswith("530 5.7.0 Must issue a STARTTLS")
    assert (await wire.say("AUTH PLAIN " + plain())).startswith("538 5.7.11")
    await wire.say("STARTTLS")
    await wire.start_tls(ingress.context)
    await wire.say("EHLO x")
    assert (await wire.say("MAIL FROM:<alice@example.test>")).startswith("530 5.7.0 Authentication")
    assert (await wire.say("AUTH PLAIN " + plain())).startswith("235 2.7.0")
    assert (await wire.say("AUTH PLAIN " + plain())).startswith("503")
    assert (await wire.say("MAIL FROM:<bob@example.test>")).startswith("553 5.7.1")
    assert (await wire.say("MAIL FROM:<alice+x@example.test>")).startswith("250")
    assert (await wire.say("RCPT TO:<far@elsewhere.example>")).startswith("250 2.1.5")
    ingress.store.suppressed.add("gone@elsewhere.example")
    assert (await wire.say("RCPT TO:<Gone@Elsewhere.example>")).startswith("550 5.1.1 Suppressed: ")
    assert (await wire.say("RCPT TO:<alice@example.test>")).startswith("250")
    await wire.say("DATA")
    wire.send(b"From: alice@example.test\r\nSubject: s\r\n\r\nx\r\n.\r\n")
    assert (await wire.reply()).startswith("250")
    (stored,) = await ingress.inbox()
    assert b" with ESMTPSA (TLSv1.3 " in stored
    assert stored.count(b"\r\nDate: ") == 1
    assert stored.count(b"\r\nMessage-ID: <") == 1
    answer = await send(wire, b"From: Bob <bob@example.test>\r\n\r\nx\r\n", sender="alice@example.test")
    assert answer.startswith("550 5.7.1")


async def test_auth_dialogs(ingress) -> None:
    async def session():
        wire = await ingress.connect("submissions", tls=True)
        await wire.say("EHLO x")
        return wire

    encoded = [base64.b64encode(x).decode() for x in (b"alice@example.test", b"secret-enough")]
    wire = await session()
    assert await wire.say("AUTH LOGIN") == "334 VXNlcm5hbWU6"
    assert await wire.say(encoded[0]) == "334 UGFzc3dvcmQ6"
    assert (await wire.say(encoded[1])).startswith("235")
    wire = await session()
    assert await wire.say("AUTH PLAIN") == "334 "
    assert (await wire.say(plain())).startswith("235")
    wire = await session()
    assert (await wire.say("AUTH CRAM-MD5")).startswith("504 5.5.4")
    await wire.say("AUTH PLAIN")
    assert (await wire.say("*")).startswith("501 5.7.0")
    assert (await wire.say("AUTH PLAIN !!!")).startswith("501 5.5.2")
    assert (
        await wire.say("AUTH PLAIN " + base64.b64encode(b"bob\0alice@example.test\0secret-enough").decode())
    ).startswith("535")


async def test_wrong_passwords_end_the_session_at_the_third(ingress, monkeypatch) -> None:
    monkeypatch.setattr("smtp_ingress.commands.auth.FAILURE_SECONDS", 0)
    wire = await ingress.connect("submissions", tls=True)
    await wire.say("EHLO x")
    answers = [await wire.say("AUTH PLAIN " + plain(password="wrong")) for _ in range(3)]
    assert [a[:3] for a in answers] == ["535", "535", "421"]
    assert await wire.ended()


async def test_chunking(ingress) -> None:
    wire = await ingress.connect()
    await wire.say("EHLO x")
    await wire.say("MAIL FROM:<ann@elsewhere.example>")
    await wire.say("RCPT TO:<alice@example.test>")
    wire.send(b"BDAT 12\r\nSubject: c\r\n")
    assert (await wire.reply()).startswith("250")
    assert (await wire.say("DATA")).startswith("503")
    wire.send(b"BDAT 0\r\n")
    assert (await wire.reply()).startswith("250")
    wire.send(b"BDAT 8 LAST\r\n\r\n.\r\nx\r\n")
    assert (await wire.reply()).startswith("250 2.0.0 Ok: id")
    assert (await ingress.inbox())[0].endswith(b"Subject: c\r\n\r\n.\r\nx\r\n")
    wire.send(b"BDAT 5 LAST\r\nQUIT\n")
    assert (await wire.reply()).startswith("503"), "the chunk is read although nobody wants it"
    assert (await wire.say("NOOP")).startswith("250")
    assert (await wire.say("BDAT lots")).startswith("501")
    assert await wire.ended()


async def test_bdat_with_a_bare_line_end_is_refused(ingress) -> None:
    wire = await ingress.connect()
    await wire.say("EHLO x")
    await wire.say("MAIL FROM:<ann@elsewhere.example>")
    await wire.say("RCPT TO:<alice@example.test>")
    wire.send(b"BDAT 6\r\nA: b\r\n")
    await wire.reply()
    wire.send(b"BDAT 7 LAST\r\n\r\nx\ny\r\n")
    assert (await wire.reply()).startswith("550 5.6.0")
    assert await ingress.inbox() == []


async def test_too_big_is_said_after_the_data_and_the_session_goes_on(start) -> None:
    ingress = await start(message_size_limit=65536)
    wire = await ingress.connect()
    await wire.say("EHLO x")
    assert (await send(wire, MESSAGE + b"x" * 70000 + b"\r\n")).startswith("552 5.3.4")
    assert ingress.service.budget.used == 0
    assert (await send(wire, MESSAGE)).startswith("250")


async def test_bytes_in_flight_are_bounded(start, monkeypatch) -> None:
    monkeypatch.setattr("smtp_ingress.transaction.BUDGET_SECONDS", 0.05)
    ingress = await start(bytes_in_flight=1024 * 1024)
    assert ingress.service.budget.try_acquire(1024 * 1024 - 10)
    wire = await ingress.connect()
    await wire.say("EHLO x")
    assert (await send(wire, MESSAGE)).startswith("452 4.3.1")
    ingress.service.budget.release(1024 * 1024 - 10)
    assert (await send(wire, MESSAGE)).startswith("250")
    assert ingress.service.budget.used == 0


async def test_loops_and_header_bounds(ingress) -> None:
    wire = await ingress.connect()
    await wire.say("EHLO x")
    assert (await send(wire, b"Received: from a by b; now\r\n" * 100 + MESSAGE)).startswith("554 5.4.6")
    assert (await send(wire, b"X-A: " + b"y" * 300_000 + b"\r\n" + MESSAGE)).startswith("552 5.3.4")
    assert (await send(wire, b"Received: from a by b; now\r\n" * 99 + MESSAGE)).startswith("250")


async def test_a_store_that_is_away_is_451_never_250(ingress, monkeypatch) -> None:
    async def away(*_args, **_kwargs):
        raise Unavailable("gone fishing")

    wire = await ingress.connect()
    await wire.say("EHLO x")
    monkeypatch.setattr(ingress.store.delivery, "deliver", away)
    answer = await send(wire, MESSAGE)
    assert answer.startswith("451 4.3.0")
    assert "fishing" not in answer
    monkeypatch.setattr(ingress.store.directory, "resolve", away)
    await wire.say("MAIL FROM:<a@b.example>")
    ingress.service._resolved.clear()
    assert (await wire.say("RCPT TO:<alice@example.test>")).startswith("451 4.3.0")


async def test_an_exception_reaches_the_log_and_not_the_client(ingress, monkeypatch) -> None:
    async def broken(*_args, **_kwargs):
        raise RuntimeError("secret detail")

    monkeypatch.setattr(ingress.store.directory, "resolve", broken)
    wire = await ingress.connect()
    await wire.say("EHLO x")
    await wire.say("MAIL FROM:<a@b.example>")
    answer = await wire.say("RCPT TO:<alice@example.test>")
    assert answer.startswith("451 4.3.0")
    assert "secret" not in answer
    assert await wire.ended()


async def test_the_next_command_confirms_and_a_dead_client_does_not(ingress) -> None:
    wire = await ingress.connect()
    await wire.say("EHLO x")
    first = (await send(wire, MESSAGE)).rsplit(" ", 1)[1]
    wire.writer.transport.abort()
    again = await ingress.connect()
    await again.say("EHLO x")
    assert (await send(again, MESSAGE)).endswith(f"duplicate of {first}")
    assert len(await ingress.inbox()) == 1
    third = await ingress.connect()
    await third.say("EHLO x")
    other = MESSAGE.replace(b"Hello there", b"Other")
    await send(third, other)
    await third.say("NOOP")
    assert "duplicate" not in await send(third, other)
    assert len(await ingress.inbox()) == 3


async def test_twenty_errors_end_the_session(ingress) -> None:
    wire = await ingress.connect()
    answers = [await wire.say("WHAT") for _ in range(20)]
    assert [a[:3] for a in answers] == ["500"] * 19 + ["421"]
    assert await wire.ended()


async def test_line_limits_and_control_characters(ingress) -> None:
    wire = await ingress.connect()
    assert (await wire.say(b"NOOP " + b"x" * 200_000)).startswith("500 5.5.2")
    assert (await wire.say(b"NOOP a\x00b")).startswith("500 5.5.2")
    wire.send(b"NOOP\nNOOP\r\n")
    assert (await wire.reply()).startswith("500 5.5.2"), "a bare LF ends no command"
    assert (await wire.reply()).startswith("250")


async def test_recipients_limit(start) -> None:
    ingress = await start(recipients_limit=100)
    wire = await ingress.connect()
    await wire.say("EHLO x")
    await wire.say("MAIL FROM:<a@b.example>")
    answers = [await wire.say(f"RCPT TO:<alice+{i}@example.test>") for i in range(101)]
    assert {a[:3] for a in answers[:100]} == {"250"}
    assert answers[100].startswith("452 4.5.3")


async def test_drain_says_421_between_transactions_only(ingress) -> None:
    idle, busy = await ingress.connect(), await ingress.connect()
    await busy.say("EHLO x")
    await busy.say("MAIL FROM:<ann@elsewhere.example>")
    loop = asyncio.get_running_loop()
    draining = asyncio.create_task(ingress.server.drain(loop.time() + 10))
    assert (await idle.reply()).startswith("421 4.3.2")
    assert await idle.ended()
    assert (await busy.say("RCPT TO:<alice@example.test>")).startswith("250")
    await busy.say("DATA")
    busy.send(MESSAGE + b".\r\n")
    assert (await busy.reply()).startswith("250")
    assert (await busy.reply()).startswith("421 4.3.2")
    await draining
    assert len(await ingress.inbox()) == 1


async def test_drain_lets_an_auth_dialog_end(ingress) -> None:
    wire, idle = await ingress.connect("submissions", tls=True), await ingress.connect()
    await wire.say("EHLO x")
    assert await wire.say("AUTH PLAIN") == "334 "
    loop = asyncio.get_running_loop()
    draining = asyncio.create_task(ingress.server.drain(loop.time() + 10))
    assert (await idle.reply()).startswith("421 4.3.2")  # asked after the other, in order of arrival
    assert (await wire.say(plain())).startswith("235")
    assert (await wire.reply()).startswith("421 4.3.2")
    await draining


async def test_smtplib_over_starttls_and_tls(ingress) -> None:
    def submit(port: int, implicit: bool) -> None:
        context = ingress.context
        client = smtplib.SMTP_SSL("localhost", port, context=context) if implicit else smtplib.SMTP("localhost", port)
        with client:
            if not implicit:
                client.starttls(context=context)
            client.login("alice@example.test", "secret-enough")
            body = f"From: alice@example.test\r\nSubject: {port}\r\n\r\n.hi\r\n"
            assert client.sendmail("alice@example.test", ["alice@example.test"], body) == {}

    await asyncio.to_thread(submit, ingress.ports["submission"], False)
    await asyncio.to_thread(submit, ingress.ports["submissions"], True)
    assert len(await ingress.inbox()) == 2


async def test_a_group_takes_mail_from_whom_it_wants(ingress) -> None:
    ingress.store.add_group("team@example.test", ["alice@example.test"], "members")
    wire = await ingress.connect()
    await wire.say("EHLO client.example")
    await wire.say("MAIL FROM:<alice@example.test>")
    refused = await wire.say("RCPT TO:<team@example.test>")
    assert refused == "550 5.7.1 You may not write to this group"
    assert (await wire.say("RCPT TO:<alice@example.test>")).startswith("250 2.1.5")  # the others are none the worse
    wire = await ingress.connect("submissions", tls=True)
    await wire.say("EHLO client.example")
    assert (await wire.say(f"AUTH PLAIN {plain()}")).startswith("235")
    message = MESSAGE.replace(b"ann@elsewhere.example", b"alice@example.test")
    assert (await send(wire, message, "team@example.test", "alice@example.test")).startswith("250 2.0.0")
    assert len(await ingress.inbox()) == 1


async def test_mail_that_comes_back_to_a_group_is_refused(ingress) -> None:
    ingress.store.add_group("team@example.test", ["alice@example.test"])
    wire = await ingress.connect()
    await wire.say("EHLO client.example")
    back = b"Delivered-To: team@example.test\r\n" + MESSAGE
    answer = await send(wire, back, "team@example.test")
    assert answer == "554 5.4.6 The message went through this group before, mail is looping"
    assert await ingress.inbox() == []
    await wire.say("MAIL FROM:<ann@elsewhere.example>")
    await wire.say("RCPT TO:<team@example.test>")
    await wire.say("RCPT TO:<alice@example.test>")
    await wire.say("DATA")
    wire.send(back + b".\r\n")
    assert (await wire.reply()).startswith("250 2.0.0")  # who is named beside it gets it
    assert len(await ingress.inbox()) == 1
