"""Order, dependencies, exit status and cleaning up, on a platform made of fakes at the edges: HTTP and the clients."""

import json
import os
import signal
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from mailboatctl.client import Client
from mailboatctl.commands import smoke as command
from mailboatctl.errors import CheckFailed
from mailboatctl.settings import ApiSettings
from mailboatctl.smoke import steps
from mailboatctl.smoke.endpoint import Endpoint
from mailboatctl.smoke.interrupts import Stopped
from mailboatctl.smoke.mail import Sent
from mailboatctl.smoke.steps import STEPS, Targets

TRACE = "01jd0000000000000000abcdef"
TOKEN = "a-token-of-the-test"
AFTER_ACCOUNT = ["idle", "reception", "submission", "seen", "bytes", "pop3"]


class Platform:
    """A platform where all is well, but for the things named in `broken` and what `meanwhile` does."""

    def __init__(self) -> None:
        self.things: dict[str, Any] = {}
        self.calls: list[str] = []
        self.messages: list[bytes] = []
        self.broken: set[str] = set()
        self.meanwhile: dict[str, Callable[[], None]] = {}
        self.password = ""

    def at(self, place: str) -> None:
        """Something gets to a place: what is to happen there happens."""
        self.calls.append(place)
        self.meanwhile.get(place, lambda: None)()
        if place in self.broken:
            raise CheckFailed(f"{place} is broken")

    # the API

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/v1/")
        self.calls.append(f"{request.method} {path.partition('/')[0]}")
        self.meanwhile.get(self.calls[-1], lambda: None)()
        if self.calls[-1] in self.broken:
            return httpx.Response(409, json={"title": "Conflict", "detail": f"{self.calls[-1]} is broken"})
        match request.method:
            case "POST":
                body = json.loads(request.content)
                self.password = body.get("password", self.password)
                self.things[f"{path}/{body.get('name') or body['address']}"] = body
                return httpx.Response(201, json={})
            case "DELETE" if "keep" not in self.broken:
                return httpx.Response(204 if self.things.pop(path, None) else 404)
            case "DELETE":
                return httpx.Response(204)
            case _ if path in ("domains", "accounts"):
                return httpx.Response(200, json={"items": [], "next": None})
            case _:
                return httpx.Response(200 if path in self.things else 404, json={})

    def client(self, settings: ApiSettings) -> Client:
        return Client(settings, httpx.MockTransport(self.answer))

    # what steps.py uses of the clients

    def send(self, to: Endpoint, tls: object, sender: str, recipient: str, way: str, **more: Any) -> Sent:
        self.at({25: "reception", 587: "submission"}[to.port])
        assert f"accounts/{recipient}" in self.things
        assert more.get("login") in (None, (recipient, self.password))
        self.messages.append(way.encode())
        return Sent(way.encode(), f"2.0.0 Ok: id {TRACE}", 1.0)

    def idle_client(self, *_: object, **__: object) -> "Platform":
        self.at("idle")
        self.exists = 0
        return self

    def login(self, user: str, password: str) -> None:
        assert password == self.password

    def select(self, mailbox: str) -> int:
        return 0

    def idle(self) -> None:
        self.seen_at = 1.0

    def wait_for_exists(self, more_than: int, seconds: float) -> int:
        self.at("seen")
        self.exists, self.seen_at = len(self.messages), 1.0123
        assert self.exists == more_than + 1
        return self.exists

    def done(self) -> None:
        self.at("bytes")

    def fetch(self, number: int) -> bytes:
        return b"Received: x\r\n" + self.messages[number - 1]

    def close(self) -> None:
        self.calls.append("close")

    def read_all(self, *_: object) -> list[bytes]:
        self.at("pop3")
        return self.messages

    def refused(self, *_: object) -> str:
        self.at("relay")
        return "550 no"

    def refused_at_last(self, to: Endpoint, address: str, seconds: float) -> str:
        self.at("cleanup")
        assert f"accounts/{address}" not in self.things
        return "550 no"


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> Platform:
    made = Platform()
    monkeypatch.setattr(command, "Client", made.client)
    monkeypatch.setattr(steps, "IdleClient", made.idle_client)
    monkeypatch.setattr(steps.mail, "send", made.send)
    monkeypatch.setattr(steps.pop3, "read_all", made.read_all)
    monkeypatch.setattr(steps.relay, "refused_by_reception", made.refused)
    monkeypatch.setattr(steps.relay, "refused_by_submission", made.refused)
    monkeypatch.setattr(steps.relay, "wait_until_refused", made.refused_at_last)
    return made


@pytest.fixture
def handlers() -> Iterator[None]:
    """Whatever a run does, the signals are as they were."""
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM)]
    yield
    after = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM)]
    assert after == before


@pytest.fixture
def run(platform: Platform, handlers: None, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs; exit status, lines by step, and what is left on the platform must be nothing, unless it can't be removed."""

    def call(domain: str | None = None, seconds: float = 30.0) -> tuple[int, dict[str, dict[str, Any]], str]:
        to = [Endpoint("localhost", port) for port in (25, 587, 993, 995)]
        targets = Targets(*to, (), ssl.create_default_context(), domain, seconds)
        status = command.perform(ApiSettings("http://api.test", TOKEN), targets)
        shown = capsys.readouterr()
        assert TOKEN not in shown.out + shown.err
        assert not platform.password or platform.password not in shown.out + shown.err
        lines = [json.loads(line) for line in shown.out.splitlines()]
        assert [line["step"] for line in lines] == list(STEPS)
        assert [row.split()[0] for row in shown.err.splitlines()[1:-1]] == list(STEPS)
        return status, {line["step"]: line for line in lines}, shown.err.splitlines()[-1]

    return call


def failed(lines: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    """The steps that failed, and those that weren't tried therefore."""
    wrong = {step: line for step, line in lines.items() if "error" in line}
    assert all(not line["ok"] for line in wrong.values())
    return {
        "failed": [step for step, line in wrong.items() if "skipped" not in line],
        "not tried": [step for step, line in wrong.items() if "skipped" in line],
    }


def test_all_is_well(platform: Platform, run: Any) -> None:
    status, lines, last = run()
    assert status == 0
    assert [step for step, line in lines.items() if not line["ok"]] == ["metrics"]
    assert lines["metrics"]["skipped"] is True
    assert last == "Smoke test passed. Not part of it, because nobody asked: metrics."
    account = lines["account"]["account"]
    assert lines["reception"]["trace_id"] == lines["submission"]["trace_id"] == TRACE
    assert lines["reception"]["bytes"] == len("25, from outside")
    assert lines["seen"]["delay_ms"] == {"reception": 12, "submission": 12}
    assert lines["cleanup"]["removed"] == [account, account.partition("@")[2]]
    assert platform.things == {}
    order = ["idle", "reception", "seen", "submission", "seen", "bytes", "pop3", "relay", "relay", "close"]
    assert [call for call in platform.calls if " " not in call] == [*order, "cleanup"]


def test_no_two_runs_share_a_name(platform: Platform, run: Any) -> None:
    _, first, _ = run()
    platform.messages.clear()
    status, second, _ = run()
    assert status == 0
    assert first["account"]["account"] != second["account"]["account"]


def test_a_domain_that_is_there_stays(platform: Platform, run: Any) -> None:
    platform.things["domains/here.test"] = {}
    status, lines, _ = run("here.test")
    assert status == 0
    assert lines["account"]["account"].endswith("@here.test")
    assert lines["cleanup"]["removed"] == [lines["account"]["account"]]
    assert list(platform.things) == ["domains/here.test"]
    assert "POST domains" not in platform.calls


@pytest.mark.parametrize(
    ("broken", "wrong", "not_tried"),
    [
        ("GET domains", ["api"], ["account", *AFTER_ACCOUNT, "relay"]),
        ("POST domains", ["account"], AFTER_ACCOUNT),
        ("POST accounts", ["account"], AFTER_ACCOUNT),
        ("idle", ["idle"], ["seen", "bytes"]),
        ("reception", ["reception"], ["seen", "bytes", "pop3"]),
        ("submission", ["submission"], ["seen", "bytes", "pop3"]),
        ("seen", ["seen"], ["bytes"]),
        ("bytes", ["bytes"], []),
        ("pop3", ["pop3"], []),
        ("relay", ["relay"], []),
        ("cleanup", ["cleanup"], []),
    ],
)
def test_what_fails_is_named_and_nothing_stays(
    platform: Platform, run: Any, broken: str, wrong: list[str], not_tried: list[str]
) -> None:
    platform.broken = {broken}
    status, lines, last = run()
    assert (status, last) == (1, f"Smoke test failed: {wrong[0]}.")
    assert failed(lines) == {"failed": wrong, "not tried": not_tried}
    assert f"{broken} is broken" in lines[wrong[0]]["error"]
    assert all(lines[step]["error"].startswith("not tried: ") for step in not_tried)
    assert platform.things == {}


def test_bytes_that_differ_fail_both_readers(platform: Platform, run: Any) -> None:
    platform.meanwhile["bytes"] = lambda: platform.messages.__setitem__(1, b"other")
    status, lines, _ = run()
    assert status == 1
    assert failed(lines)["failed"] == ["bytes", "pop3"]
    assert "does not end with what was sent" in lines["pop3"]["error"]


def test_a_message_too_many_fails_pop3(platform: Platform, run: Any) -> None:
    platform.meanwhile["pop3"] = lambda: platform.messages.append(b"third")
    _, lines, _ = run()
    assert failed(lines)["failed"] == ["pop3"]
    assert "there are 3 messages, not 2" in lines["pop3"]["error"]


def test_no_api_is_status_3(platform: Platform, run: Any) -> None:
    def away() -> None:
        raise httpx.ConnectError("nobody")

    platform.meanwhile["GET domains"] = away
    status, lines, last = run()
    assert (status, last) == (3, "Smoke test failed: api.")
    assert "http" not in lines["cleanup"]
    assert lines["cleanup"] | {"seconds": 0} == {"step": "cleanup", "ok": True, "seconds": 0, "removed": []}


def hang() -> None:
    """Waits for ever."""
    reading, _ = os.pipe()
    os.read(reading, 1)


def test_an_api_that_never_answers_is_status_3(platform: Platform, run: Any) -> None:
    platform.meanwhile["GET domains"] = hang
    status, lines, _ = run(seconds=0.1)
    assert status == 3
    assert "did not answer: not done within 0.1 s" in lines["api"]["error"]


@pytest.mark.parametrize("place", ["idle", "reception", "submission", "seen", "pop3", "relay"])
def test_a_step_that_hangs_is_given_up(platform: Platform, run: Any, place: str) -> None:
    platform.meanwhile[place] = hang
    status, lines, _ = run(seconds=0.1)
    assert status == 1
    assert failed(lines)["failed"] == [place]
    assert "not done within 0.1 s" in lines[place]["error"]
    assert lines["cleanup"]["ok"]
    assert platform.things == {}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("place", ["POST domains", "POST accounts", "idle", "reception", "seen", "pop3", "relay"])
def test_a_signal_ends_the_test_and_nothing_stays(
    platform: Platform, run: Any, place: str, number: signal.Signals
) -> None:
    platform.meanwhile[place] = lambda: os.kill(os.getpid(), number)
    status, lines, _ = run()
    step = "account" if place.startswith("POST") else place
    assert status == 1
    assert failed(lines)["failed"] == [step]
    assert lines[step]["error"].endswith(f"interrupted by {number.name}")
    assert all(line.get("skipped") for name, line in lines.items() if STEPS.index(step) < STEPS.index(name) < 9)
    assert lines["cleanup"]["ok"]
    assert platform.things == {}


def test_a_signal_between_two_steps(platform: Platform, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    show = command.print_json_line

    def interrupted(line: dict[str, Any]) -> None:
        show(line)
        if line["step"] == "idle":
            raise Stopped("SIGTERM")

    monkeypatch.setattr(command, "print_json_line", interrupted)
    status, lines, last = run()
    assert (status, last) == (1, "Smoke test failed: reception, submission, seen, bytes, pop3, relay, metrics.")
    assert {line["error"] for line in lines.values() if "error" in line} == {"not tried: interrupted by SIGTERM"}
    assert platform.things == {}


def test_a_signal_does_not_disturb_the_cleaning_up(platform: Platform, run: Any) -> None:
    platform.meanwhile["DELETE accounts"] = lambda: os.kill(os.getpid(), signal.SIGTERM)
    status, lines, _ = run()
    assert (status, lines["cleanup"]["ok"]) == (0, True)
    assert platform.things == {}


def test_what_could_not_be_removed_is_named(platform: Platform, run: Any) -> None:
    platform.broken = {"DELETE domains"}
    status, lines, _ = run()
    domain = lines["account"]["account"].partition("@")[2]
    assert status == 1
    assert f"DELETE domains is broken. Still there, it seems: domain {domain}." in lines["cleanup"]["error"]
    assert list(platform.things) == [f"domains/{domain}"]


def test_a_removal_that_changes_nothing_is_found_out(platform: Platform, run: Any) -> None:
    platform.broken = {"keep"}
    status, lines, _ = run()
    account = lines["account"]["account"]
    assert status == 1
    assert f"The API still shows {account} after it was removed" in lines["cleanup"]["error"]


def test_a_fault_of_our_own_is_raised_after_cleaning_up(platform: Platform, run: Any) -> None:
    def fault() -> None:
        raise ZeroDivisionError

    platform.meanwhile["pop3"] = fault
    with pytest.raises(ZeroDivisionError):
        run()
    assert platform.things == {}
