"""What operators see of the running platform: metrics, one log line per login, traces; and no secret anywhere."""

from __future__ import annotations

import asyncio
import base64
import re
from typing import Any

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.support.documents import quoted, table
from tests.support.imap import Client
from tests.support.stack import OUTSIDER, Account, Live, Smtp, message, until
from tests.support.wire import Wire

pytestmark = pytest.mark.stack

LIFE = {"build_info", "draining", "dependency_up", "event_loop_lag_seconds"}
EDGE = LIFE | {
    *("connections", "connections_total", "connections_rejected_total", "auth_attempts_total", "auth_duration_seconds"),
    *("tls_certificate_not_after_timestamp_seconds", "tls_reload_failures_total"),
}
STORAGE = LIFE | {"storage_commit_batch_size", "storage_commit_conflicts_total", "mongodb_pool_wait_seconds"}
EXPECTED = {
    "smtp_ingress": EDGE | {"smtp_messages_total", "smtp_transaction_duration_seconds", "smtp_message_size_bytes"},
    "imap_gateway": EDGE | {"imap_command_duration_seconds", "imap_idle_sessions", "imap_notify_delay_seconds"},
    "pop3_gateway": EDGE | {"pop3_command_duration_seconds"},
    "storage_api": STORAGE | {"storage_call_duration_seconds"},
    "storage_worker": STORAGE | {"storage_bytes", "outbox_pending"},
    "delivery_worker": LIFE | {"delivery_attempts_total"},
}
PRIVATE = re.compile(
    r"@|^\d{1,3}(\.\d{1,3}){3}$|^[0-9a-f]*:[0-9a-f:]+$|\.test$|\.example$|^[0-9a-hjkmnp-tv-z]{26}$|^[0-9a-f]{24,}$"
)


async def families(live: Live, name: str) -> list[Metric]:
    """A scrape of one process."""
    status, text = await live.page(name, "/metrics")
    assert status == 200
    return list(text_string_to_metric_families(text))


def full_name(family: Metric) -> str:
    """As it is written: the parser takes `_total` off counters."""
    return family.name + ("_total" if family.type == "counter" else "")


async def use_everything(live: Live) -> None:
    """Mail in, mail read, a refusal of each kind."""
    account = live.account()
    await live.deliver(account, message("for the metrics"))
    client = await live.imap(1, account, "INBOX")
    await client.ok("FETCH 1 BODY[]")
    await (await live.pop3(1, account)).say("RETR 1")
    await (await live.smtp(1)).say("RCPT TO:<nobody@live.test>")


async def test_every_scrape_has_the_names_and_no_persons(live: Live) -> None:
    await use_everything(live)
    documented = {quoted(row[0])[0] for row in table("docs/operations.md", "metric")}
    for name in live.services():
        found = await families(live, name)
        ours = {full_name(family) for family in found if family.name.startswith("mailboat_")}
        expected = {f"mailboat_{metric}" for metric in EXPECTED[name.rpartition("-")[0]]}
        assert expected - ours == set(), name
        assert ours - documented == set(), name
        labels = {value for family in found for sample in family.samples for value in sample.labels.values()}
        assert [value for value in labels if PRIVATE.search(value)] == [], name
        (version,) = [family for family in found if family.name == "mailboat_build_info"]
        assert version.samples[0].labels["service"] == name.rpartition("-")[0]


async def test_the_gauges_go_back_to_nothing(live: Live) -> None:
    """Connections and IDLE sessions are counted while they are there, and not a moment longer."""

    async def value(name: str, metric: str) -> float:
        samples = [s for family in await families(live, name) for s in family.samples if s.name == metric]
        return sum(sample.value for sample in samples)

    before = await value("imap_gateway-2", "mailboat_connections")
    idle = await value("imap_gateway-2", "mailboat_imap_idle_sessions")
    clients = [await live.imap(2, live.account(), "INBOX") for _ in range(3)]
    for client in clients:
        client.send(b"i IDLE\r\n")
        assert (await client.response()).startswith(b"+")
    assert await value("imap_gateway-2", "mailboat_connections") == before + 3
    assert await value("imap_gateway-2", "mailboat_imap_idle_sessions") == idle + 3
    live.close()
    async with asyncio.timeout(5):
        while await value("imap_gateway-2", "mailboat_connections") != before:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert await value("imap_gateway-2", "mailboat_imap_idle_sessions") == idle


def plain(account: Account, password: str | None = None) -> str:
    return base64.b64encode(f"\0{account.address}\0{password or account.password}".encode()).decode()


async def log_in_everywhere(live: Live, account: Account) -> None:
    """Each way once with the right password, three with a wrong one."""
    imap: list[Client] = [await live.imap(1) for _ in range(3)]
    smtp: list[Smtp] = [await live.smtp(1, "submissions") for _ in range(3)]
    pop3: list[Wire] = [await live.pop3(1) for _ in range(2)]
    await pop3[0].say(f"USER {account.address}")
    await pop3[1].say(f"USER {account.address}")
    assert (await smtp[1].say("AUTH LOGIN")).startswith("334")
    assert (await smtp[1].say(base64.b64encode(account.address.encode()))).startswith("334")
    answers = await asyncio.gather(
        imap[0].command(f'LOGIN {account.address} "{account.password}"'),
        imap[1].command(f"AUTHENTICATE PLAIN {plain(account)}"),
        imap[2].command(f'LOGIN {account.address} "wrong-{account.password}"'),
        smtp[0].say(f"AUTH PLAIN {plain(account)}"),
        smtp[1].say(base64.b64encode(account.password.encode())),
        smtp[2].say(f"AUTH PLAIN {plain(account, 'wrong-' + account.password)}"),
        pop3[0].say(f"PASS {account.password}"),
        pop3[1].say(f"PASS wrong-{account.password}"),
    )
    words = [str(answer[-1] if isinstance(answer, list) else answer) for answer in answers]
    expected = ("OK", "OK", "AUTHENTICATIONFAILED", "235", "235", "535", "+OK", "-ERR [AUTH]")
    assert all(word in answer for word, answer in zip(expected, words, strict=True)), words


async def test_each_login_is_one_line(live: Live) -> None:
    account = live.account()
    live.whole.secrets |= {plain(account), base64.b64encode(account.password.encode()).decode()}
    ends = live.whole.log_ends()
    await log_in_everywhere(live, account)

    def lines() -> list[dict[str, Any]]:
        return [
            line
            for service in ("smtp_ingress", "imap_gateway", "pop3_gateway")
            for line in live.whole.log_lines(service, ends)
            if line["event"] == "authentication" and line["login"] == account.address
        ]

    await until(lambda: len(lines()) >= 8)
    seen = sorted((line["protocol"], line["mechanism"], line["result"] == "ok") for line in lines())
    assert seen == [
        ("imap", "LOGIN", False), ("imap", "LOGIN", True), ("imap", "PLAIN", True),
        ("pop3", "USER", False), ("pop3", "USER", True),
        ("smtp", "LOGIN", True), ("smtp", "PLAIN", False), ("smtp", "PLAIN", True),
    ]  # fmt: skip
    for line in lines():
        assert (line["client"], line["tls"]) == ("127.0.0.1", "TLSv1.3")
        assert isinstance(line["port"], int)
        assert line["result"] == "ok" or line["reason"]
    assert live.whole.secrets_in_logs() == []


async def test_one_id_leads_from_the_250_to_the_mailbox(live: Live) -> None:
    """The reply's id is in the message's Received field, in a log line, and in the trace that the API shows."""
    account = live.account()
    ends = live.whole.log_ends()
    (trace,) = re.findall(r"\b[0-9a-hjkmnp-tv-z]{26}\b", await live.deliver(account, message("followed"), 2))
    client = await live.imap(1, account, "INBOX")
    assert trace.encode() in b"".join(await client.ok("FETCH 1 BODY.PEEK[HEADER.FIELDS (RECEIVED)]"))
    logged = [line for line in live.whole.log_lines("smtp_ingress", ends) if line.get("trace_id") == trace]
    assert [line["event"] for line in logged] == ["message"]

    def kinds() -> list[str]:
        try:
            return [event["kind"] for event in live.rest("GET", f"/v1/trace/{trace}")["events"]]
        except OSError:  # 404: traces are written in batches, a moment after the commit
            return []

    await asyncio.to_thread(wait, lambda: "filed" in kinds())


def wait(condition: Any) -> None:
    asyncio.run(until(condition, 10))


def test_no_secret_is_in_any_log(live: Live) -> None:
    """Tokens between services, passwords of the broker, the demo's and the accounts': all that tests have used so far."""
    assert len(live.whole.secrets) > 10
    assert OUTSIDER.encode() not in b"".join(s.encode() for s in live.whole.secrets)
    assert live.whole.secrets_in_logs() == []
