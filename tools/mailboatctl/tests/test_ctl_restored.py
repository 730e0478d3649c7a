"""`mailboatctl restored`: it asks first, follows until the end, and says what is to be looked after."""

import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from mailboatctl.client import Client
from mailboatctl.commands import restored
from mailboatctl.main import main
from mailboatctl.settings import ApiSettings

TIME = "2026-11-26T03:00:00Z"
REASON = "restored from a backup of 2026-11-26 03:00:00Z"
RESTORE: dict[str, Any] = {
    "label": TIME,
    "reason": REASON,
    "backup_at": 1795662000000,
    "asked_at": 1795681800000,
    "state": "running",
    "phase": "queue",
    "total": 7,
    "accounts": 0,
    "mailboxes": 0,
    "queue": 0,
    "notices": 0,
}
DONE = RESTORE | {"state": "done", "phase": "", "accounts": 7, "mailboxes": 42, "queue": 3, "notices": 1}
TOKEN = {"id": "k1", "name": "crm", "scopes": ["platform"], "account": None, "created_at": 0}
Run = Callable[..., tuple[int, str, str]]


class Api:
    """What the API says of the restore, one answer after the other; the last one for ever."""

    def __init__(self) -> None:
        self.states: list[Any] = [RESTORE, RESTORE | {"phase": "accounts", "accounts": 3}, DONE]
        self.begun: list[Any] = []
        self.refusal = ""

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            self.begun.append(json.loads(request.content))
            if self.refusal:
                return httpx.Response(409, json={"title": "Conflict", "detail": self.refusal})
            return httpx.Response(202, json=RESTORE)
        if request.url.path == "/v1/tokens":
            return httpx.Response(200, json={"items": [TOKEN], "next": None})
        if request.url.path == "/v1/restored":
            return httpx.Response(200, json={"items": self.states[:1], "next": None})
        assert request.url.path.startswith("/v1/restored/")
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return httpx.Response(503) if state is None else httpx.Response(200, json=state)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    made = Api()
    settings = ApiSettings("http://api.test", "a-token")
    monkeypatch.setattr(restored, "connect", lambda: Client(settings, httpx.MockTransport(made.answer)))
    monkeypatch.setattr(restored, "EVERY_SECONDS", 0.0)
    yield made


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["mailboatctl", "restored", *arguments])
        monkeypatch.setattr("sys.stdin", io.StringIO())
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capsys.readouterr()
        code = ended.value.code
        return (0 if code is None else int(code)), shown.out, shown.err

    return call


def test_it_follows_to_the_end_and_says_what_to_look_after(api: Api, run: Run) -> None:
    status, text, _ = run("--backup-time", TIME, "--yes")
    assert status == 0
    assert api.begun == [{"label": TIME, "backup_time": TIME, "again": False}]
    for shown in ("7 accounts and 42 mailboxes", f"3 messages are held ({REASON})", "1 notices", "k1", "DKIM"):
        assert shown in text
    api.states = [DONE]
    status, text, _ = run("--backup-time", TIME, "--label", "the disk", "--again", "--yes", "--json")
    assert json.loads(text) == {"restore": DONE, "tokens": [TOKEN]}
    assert api.begun[1] == {"label": "the disk", "backup_time": TIME, "again": True}


def test_announcing_needs_no_worker(api: Api, run: Run) -> None:
    api.states = []
    status, text, _ = run("--backup-time", TIME, "--yes", "--no-wait")
    assert (status, text) == (0, f"{TIME}: running. Run this again to follow it.\n")


def test_nobody_does_it_by_accident(api: Api, run: Run) -> None:
    status, _, error = run("--backup-time", TIME)
    assert (status, api.begun) == (2, [])
    assert "Say --yes" in error
    api.refusal = "The restore 'another' is under way"
    api.states = [DONE | {"label": "another"}]
    status, _, error = run("--backup-time", TIME, "--yes")
    assert (status, api.refusal in error) == (1, True)


def test_what_was_done_is_shown_and_not_done_again(api: Api, run: Run) -> None:
    api.refusal = "The restore was done already"
    api.states = [DONE]
    status, text, error = run("--backup-time", TIME, "--yes")
    assert (status, "7 accounts" in text) == (0, True)
    assert "With --again" in error


def test_an_api_that_is_away_for_a_while_is_waited_for(api: Api, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    api.states = [RESTORE, None, None, DONE]
    assert run("--backup-time", TIME, "--yes")[0] == 0
    monkeypatch.setattr(restored, "PATIENCE_SECONDS", -1.0)
    api.states = [None]
    assert run("--backup-time", TIME, "--yes")[0] == 3


def test_without_a_worker_it_says_so(api: Api, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restored, "PATIENCE_SECONDS", -1.0)
    api.states = [RESTORE]
    status, _, error = run("--backup-time", TIME, "--yes")
    assert status == 3
    assert "start storage_worker" in error
