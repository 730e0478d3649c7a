"""`mailboatctl queue` and `transport`: what they ask of the API, what they show, and where passwords come from."""

import io
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from mailboatctl.main import main

Asked = tuple[str, str, Any]
Run = Callable[..., tuple[int, str, str]]

RELAY = {"host": "smtp.relay.example", "port": 587, "tls": "verify", "username": "us"}
RECIPIENT = {
    "address": "carol@far.example",
    "state": "pending",
    "attempts": 2,
    "at": 1767323045678,
    "status": "4.2.0",
    "reply": "450 4.2.0 Greylisted",
    "reason": "",
    "host": "mx.far.example [192.0.2.25]:25",
    "tls": "",
}
QUEUED = {
    "id": "q1",
    "trace_id": "t1",
    "domain": "far.example",
    "sender": "",
    "state": "ready",
    "why": "deferred: 450 4.2.0 Greylisted",
    "attempt": 3,
    "size": 10,
    "created_at": 0,
    "expires_at": 432000000,
    "next_attempt": 900000,
    "worker": None,
    "lease_until": None,
    "route": RELAY,
    "recipients": [RECIPIENT, RECIPIENT | {"address": "dave@far.example", "attempts": 1}],
}
COUNTS = {"domain": "far.example", "ready": 12, "claimed": 1, "held": 0, "oldest": 0, "next_attempt": None}
ANSWERS: dict[str, Any] = {
    "GET /v1/queue": {"items": [QUEUED], "next": None},
    "GET /v1/queue/domains": {"items": [COUNTS]},
    "GET /v1/queue/q1": QUEUED,
    "GET /v1/transports": {"items": [RELAY | {"domain": "*"}], "next": None},
    "PUT /v1/transports/%2A": RELAY | {"domain": "*"},
    "PUT /v1/transports/far.example": RELAY | {"domain": "far.example", "host": "", "username": ""},
    "DELETE /v1/transports/far.example": None,
}
ACTIONS = ("retry", "hold", "release", "reroute", "remove", "bounce")


class Handler(BaseHTTPRequestHandler):
    asked: list[Asked]

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        path, _, query = self.path.partition("?")
        self.asked.append((f"{self.command} {path}", query, body))
        action = path.removeprefix("/v1/queue:")
        value = {"changed": 2} if action in ACTIONS else ANSWERS[f"{self.command} {path}"]
        data = b"" if value is None else json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[Asked]]:
    """What the API was asked: method and path, query, body."""
    made: list[Asked] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"asked": made}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MB_API_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("MB_API_TOKEN", "a-token")
    monkeypatch.delenv("MB_API_TRANSPORT_PASSWORD", raising=False)
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["mailboatctl", *arguments])
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capsys.readouterr()
        code = ended.value.code
        return (0 if code is None else int(code)), shown.out, shown.err

    return call


def test_a_list_says_why_each_waits_and_until_when(asked: list[Asked], run: Run) -> None:
    status, text, _ = run("queue", "list", "--domain", "far.example", "--sender", "<>", "--state", "ready")
    assert status == 0
    assert asked == [("GET /v1/queue", "domain=far.example&sender=%3C%3E&state=ready", None)]
    for shown in ("q1", "<>", "carol@far.example +1", "deferred: 450 4.2.0 Greylisted", "1970-01-01 00:15:00.000Z"):
        assert shown in text
    assert json.loads(run("queue", "list", "--json")[1]) == [QUEUED]


def test_counts_by_domain(asked: list[Asked], run: Run) -> None:
    text = run("queue", "list", "--domains")[1]
    assert text.split()[-7:] == ["far.example", "12", "1", "0", "1970-01-01", "00:00:00.000Z", "-"]
    assert run("queue", "list", "--domains", "--domain", "x.example")[0] == 2


def test_a_message_shows_what_the_remote_server_said(asked: list[Asked], run: Run) -> None:
    text = run("queue", "show", "q1")[1]
    for shown in ("t1", "us@smtp.relay.example:587 (verify)", "mx.far.example [192.0.2.25]:25", "dave@far.example"):
        assert shown in text
    assert json.loads(run("queue", "show", "q1", "--json")[1]) == QUEUED


@pytest.mark.parametrize(
    ("command", "path", "said"),
    [
        ("retry", "retry", "tried now"),
        ("hold", "hold", "held"),
        ("release", "release", "released"),
        ("rm", "remove", "removed"),
    ],
)
def test_actions_by_id_domain_sender_and_all(asked: list[Asked], run: Run, command: str, path: str, said: str) -> None:
    assert run("queue", command, "q1", "q2") == (0, f"2 messages {said}.\n", "")
    run("queue", command, "--domain", "far.example", "--sender", "a@example.test")
    assert json.loads(run("queue", command, "--all", "--json")[1]) == {"changed": 2}
    assert asked == [
        (f"POST /v1/queue:{path}", "", {"ids": ["q1", "q2"]}),
        (f"POST /v1/queue:{path}", "", {"domain": "far.example", "sender": "a@example.test"}),
        (f"POST /v1/queue:{path}", "", {"all": True}),
    ]
    for wrong in ((), ("q1", "--all")):
        assert run("queue", command, *wrong)[0] == 2
    assert len(asked) == 3


def test_what_is_removed_may_be_returned_to_its_sender(asked: list[Asked], run: Run) -> None:
    assert run("queue", "rm", "q1", "--bounce")[1] == "2 messages returned.\n"
    run("queue", "rm", "--domain", "far.example", "--bounce", "--reason", "It has closed", "--status", "5.1.2")
    assert asked == [
        ("POST /v1/queue:bounce", "", {"ids": ["q1"]}),
        ("POST /v1/queue:bounce", "", {"domain": "far.example", "reason": "It has closed", "status": "5.1.2"}),
    ]
    assert run("queue", "rm", "q1", "--reason", "x")[0] == 2
    assert run("queue", "rm", "--bounce")[0] == 2
    assert len(asked) == 2


def test_reroute(asked: list[Asked], run: Run) -> None:
    assert run("queue", "reroute", "q1", "--host", "relay2.example", "--tls", "encrypt")[0] == 0
    assert run("queue", "reroute", "--domain", "far.example", "--by-table")[0] == 0
    transport = {"host": "relay2.example", "port": 25, "tls": "encrypt"}
    assert [body for *_, body in asked] == [{"ids": ["q1"], "transport": transport}, {"domain": "far.example"}]
    assert run("queue", "reroute", "q1")[0] == 2
    assert run("queue", "reroute", "q1", "--host", "x", "--by-table")[0] == 2
    assert run("queue", "reroute", "q1", "--like", "x.example", "--by-table")[0] == 2
    assert len(asked) == 2
    assert run("queue", "reroute", "--all", "--like", "*")[0] == 0
    assert asked[-1][2] == {"all": True, "transport_of": "*"}


def test_reroute_to_a_smarthost_with_a_login(asked: list[Asked], run: Run, tmp_path: Path) -> None:
    wanted = ("queue", "reroute", "q1", "--host", "smtp.relay.example", "--port", "587", "--tls", "verify")
    wanted += ("--username", "us")
    assert run(*wanted)[0] == 2, "no terminal to ask on"
    assert run("queue", "reroute", "q1", "--like", "x.example", "--username", "us")[0] == 2
    (tmp_path / "password").write_text("from a file\n")
    outputs = [run(*wanted, "--password-file", "password"), run(*wanted, "--password-stdin", stdin="from stdin\n")]
    assert [body["transport"]["password"] for *_, body in asked] == ["from a file", "from stdin"]
    assert asked[0][2] == {"ids": ["q1"], "transport": RELAY | {"password": "from a file"}}
    assert not any("from" in text for _, *texts in outputs for text in texts)


def test_a_message_rerouted_like_another_domains_says_so(run: Run, asked: list[Asked], monkeypatch: Any) -> None:
    monkeypatch.setitem(ANSWERS, "GET /v1/queue/q1", QUEUED | {"route": None, "route_of": "near.example"})
    assert "as near.example" in run("queue", "show", "q1")[1]


def test_transports(asked: list[Asked], run: Run) -> None:
    status, text, _ = run("transport", "set", "far.example", "--tls", "verify")
    assert (status, text) == (0, "Mail for far.example goes to the domain's MX (verify).\n")
    assert asked[-1][2] == {"host": "", "port": 25, "tls": "verify", "username": "", "password": ""}
    assert "smtp.relay.example" in run("transport", "list")[1]
    assert run("transport", "rm", "far.example")[1] == "The transport of far.example is removed.\n"


def test_a_transports_password_is_never_an_argument(
    asked: list[Asked], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = ("transport", "set", "*", "--host", "smtp.relay.example", "--port", "587", "--tls", "verify")
    wanted += ("--username", "us")
    assert run(*wanted)[0] == 2, "no terminal to ask on"
    assert run(*wanted, "--password", "x")[0] == 2
    (tmp_path / "password").write_text("from a file\n")
    assert run(*wanted, "--password-file", "no such file")[0] == 2
    assert asked == []
    outputs = [run(*wanted, "--password-file", "password"), run(*wanted, "--password-stdin", stdin="from stdin\n")]
    monkeypatch.setenv("MB_API_TRANSPORT_PASSWORD", "from the environment")
    outputs.append(run(*wanted, "--json"))
    assert [body["password"] for *_, body in asked] == ["from a file", "from stdin", "from the environment"]
    assert {status for status, *_ in outputs} == {0}
    assert outputs[0][1] == "Mail for * goes to us@smtp.relay.example:587 (verify).\n"
    assert not any("from" in text for _, *texts in outputs for text in texts)
