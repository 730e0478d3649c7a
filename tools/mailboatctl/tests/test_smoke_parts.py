"""The smoke test's parts without a server: addresses, counters, limits and signals, and how results are shown."""

import os
import signal
import ssl
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
from mailboatctl.commands.smoke import trusting, verdict
from mailboatctl.errors import CheckFailed, WrongUse
from mailboatctl.smoke import endpoint, metrics
from mailboatctl.smoke.endpoint import Endpoint
from mailboatctl.smoke.interrupts import Interrupts, Stopped, TooLate
from mailboatctl.smoke.runner import Outcome, Result


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("localhost:2025", Endpoint("localhost", 2025)),
        ("127.0.0.1:1", Endpoint("127.0.0.1", 1)),
        ("[::1]:25", Endpoint("::1", 25)),
        ("mailboat-smtp.mail.svc:65535", Endpoint("mailboat-smtp.mail.svc", 65535)),
    ],
)
def test_host_and_port(text: str, expected: Endpoint) -> None:
    assert endpoint.parse("--smtp", text) == expected
    assert str(expected) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "localhost", "localhost:", ":25", "localhost:0", "localhost:65536", "localhost:x", "::1:25", "[::1]"),
        *("[::1:25", "a b:25", "smtp://a:25", "a@b:25", "a:25/x", "localhost:２５", f"{'a' * 64}.test:25", "[]:25"),
    ],
)
def test_what_is_no_host_and_port(text: str) -> None:
    with pytest.raises(WrongUse, match=r"--imaps .*HOST:PORT is needed"):
        endpoint.parse("--imaps", text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost:9100",
        "https://a/metrics",
        "http:///metrics",
        "http://a:b/",
        "http://a:99999/",
        "ftp://a",
        "http://u:p@a/",
    ],
)
def test_what_is_no_metrics_url(text: str) -> None:
    with pytest.raises(WrongUse, match=r"--metrics .*a URL is needed"):
        metrics.check_url("--metrics", text)


def test_authorities_that_are_of_no_use(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("no certificate\n")
    with pytest.raises(WrongUse, match="holds no certificates"):
        trusting(tmp_path / "empty")
    with pytest.raises(WrongUse, match="cannot be read: No such file"):
        trusting(tmp_path / "missing")
    assert trusting(None).verify_mode is ssl.CERT_REQUIRED


PAGE = """\
# TYPE mailboat_smtp_messages_total counter
mailboat_smtp_messages_total{{listener="smtp",result="accepted"}} {smtp}
mailboat_smtp_messages_total{{listener="submission",result="accepted"}} 1
mailboat_smtp_messages_total{{listener="smtp",result="rejected"}} {rejected}
# TYPE mailboat_connections gauge
mailboat_connections{{protocol="smtp"}} 4
# TYPE mailboat_imap_command_duration_seconds histogram
mailboat_imap_command_duration_seconds_bucket{{command="NOOP",result="ok",le="+Inf"}} 99
mailboat_imap_command_duration_seconds_count{{command="NOOP",result="ok"}} {imap}
mailboat_imap_command_duration_seconds_count{{command="LOGIN",result="ok"}} 2
mailboat_imap_command_duration_seconds_sum{{command="NOOP",result="ok"}} 99.5
# TYPE mailboat_pop3_command_duration_seconds histogram
mailboat_pop3_command_duration_seconds_count{{command="STAT",result="ok"}} {pop3}
"""
SMTP, IMAP, POP3 = (counted.sample for counted in metrics.COUNTED)


def page(smtp: int = 0, imap: int = 0, pop3: int = 0, rejected: int = 0) -> str:
    return PAGE.format(smtp=smtp, imap=imap, pop3=pop3, rejected=rejected)


def test_the_samples_that_are_counted() -> None:
    assert metrics.counts(page(3, 5, 7, rejected=100)) == {SMTP: 4.0, IMAP: 7.0, POP3: 7.0}
    assert metrics.counts("") == {}


class Pods:
    """Pages by address, for the first and the second look; None: no answer."""

    def __init__(self, **looks: tuple[str | None, str | None]) -> None:
        self._looks = {address: list(pages) for address, pages in looks.items()}

    def resolve(self, host: str, port: int) -> list[str]:
        assert (host, port) == ("mail", 9100)
        return list(self._looks)

    def fetch(self, page: metrics.Page) -> str:
        text = self._looks[page.address].pop(0)
        if text is None:
            raise httpx.ConnectError("refused")
        return text


def compared(pods: Pods) -> Mapping[str, object]:
    comparison = metrics.Comparison(["http://mail:9100/metrics"], pods.resolve, pods.fetch)
    comparison.begin()
    return comparison.end()


def test_each_counter_must_rise_at_one_address_at_least() -> None:
    pods = Pods(a=(page(1, 1, 1), page(3, 1, 1)), b=(page(5, 5, 5), page(5, 6, 5)), c=(page(0, 0, 0), page(0, 3, 2)))
    assert compared(pods) == {"addresses": 3, "risen": {SMTP: 2, IMAP: 4, POP3: 2}}


@pytest.mark.parametrize(
    ("after", "still"),
    [
        (page(1, 1, 1), ["accepted messages", "IMAP commands", "POP3 commands"]),
        (page(2, 2, 1, rejected=4), ["POP3 commands"]),
        (page(1, 2, 2, rejected=4), ["accepted messages"]),
        (page(0, 2, 2), ["accepted messages"]),  # a new process counts from nothing
        ("", ["accepted messages", "IMAP commands", "POP3 commands"]),
    ],
)
def test_counters_that_stand_still_are_named(after: str, still: list[str]) -> None:
    with pytest.raises(CheckFailed) as caught:
        compared(Pods(a=(page(1, 1, 1), after)))
    told = str(caught.value)
    assert [counted.what for counted in metrics.COUNTED if counted.what in told] == still


def test_an_address_that_does_not_answer_is_told_and_left_out() -> None:
    pods = Pods(a=(None, None), b=(page(), page(1, 1, 1)), c=(page(), None))
    assert compared(pods) == {
        "addresses": 1,
        "risen": {SMTP: 1, IMAP: 1, POP3: 1},
        "unanswered": {
            "http://mail:9100/metrics at a": "refused",
            "http://mail:9100/metrics at c": "refused",
        },
    }


def test_a_url_without_any_answer_is_a_failure() -> None:
    with pytest.raises(CheckFailed, match=r"http://mail:9100/metrics at a: refused; .* at b: "):
        compared(Pods(a=(None, None), b=("no metrics {", None)))


def test_a_host_without_an_address_is_a_failure() -> None:
    comparison = metrics.Comparison(["http://no-such-host.invalid/metrics"])
    with pytest.raises(CheckFailed, match="the name can't be resolved"):
        comparison.begin()


def test_every_address_of_a_host_is_found_once() -> None:
    assert metrics.addresses("127.0.0.1", 80) == ["127.0.0.1"]
    assert metrics.addresses("::1", 80) == ["::1"]
    found = metrics.addresses("localhost", 80)
    assert len(found) == len(set(found)) > 0


def test_a_limit_ends_what_waits_for_ever() -> None:
    reading, writing = os.pipe()
    with Interrupts() as interrupts, pytest.raises(TooLate, match=r"not done within 0\.05 s"), interrupts.work(0.05):
        os.read(reading, 1)
    os.close(reading)
    os.close(writing)


def test_a_limit_that_is_kept_does_nothing() -> None:
    with Interrupts() as interrupts, interrupts.work(60):
        pass
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_signal_ends_work_and_the_handlers_of_before_come_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)]
    with Interrupts() as interrupts:
        with interrupts.work(60, stoppable=False):
            pass
        with pytest.raises(Stopped, match="SIGTERM"), interrupts.work(60):
            os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Stopped, match="SIGTERM"), interrupts.work(60):
            pytest.fail("work begun after a signal")
        with interrupts.work(60, stoppable=False):
            os.kill(os.getpid(), signal.SIGINT)  # noted, and no more
    assert interrupts.caught == "SIGTERM"
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)] == before


FAILED = Result("pop3", Outcome(1.23456, error="nothing listens there", status=1))
NOT_TRIED = Result("bytes", Outcome(0.0, error="not tried: seen failed", status=1), skipped=True)
NOT_ASKED = Result("metrics", Outcome(0.0, {"reason": "not asked for"}), skipped=True)
PASSED = Result("api", Outcome(0.5, {"bytes": 3}))


def test_the_lines_of_results() -> None:
    assert PASSED.line() == {"step": "api", "ok": True, "seconds": 0.5, "bytes": 3}
    assert FAILED.line() == {"step": "pop3", "ok": False, "seconds": 1.235, "error": "nothing listens there"}
    assert NOT_TRIED.line()["skipped"] is True
    assert NOT_ASKED.line() == {
        "step": "metrics", "ok": False, "seconds": 0.0, "reason": "not asked for", "skipped": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ([PASSED], "Smoke test passed."),
        ([PASSED, NOT_ASKED], "Smoke test passed. Not part of it, because nobody asked: metrics."),
        ([PASSED, FAILED, NOT_TRIED, NOT_ASKED], "Smoke test failed: pop3."),
        ([PASSED, NOT_TRIED, NOT_ASKED], "Smoke test failed: bytes."),  # interrupted between two steps
    ],
)
def test_the_last_line(results: list[Result], expected: str) -> None:
    assert verdict(results).plain == expected
