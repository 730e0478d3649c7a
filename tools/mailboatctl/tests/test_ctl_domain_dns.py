"""``mailboatctl domain dns``, ``check`` and ``dkim`` against an API of canned answers."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from mailboatctl.client import Client
from mailboatctl.commands import domain_dns
from mailboatctl.main import main
from mailboatctl.settings import ApiSettings

KEY: dict[str, Any] = {
    "selector": "20261126a-rsa",
    "algorithm": "rsa-sha256",
    "state": "active",
    "name": "20261126a-rsa._domainkey.a.test",
    "record": "v=DKIM1; k=rsa; p=AA",
    "created_at": 0,
    "activated_at": 1_000,
    "retires_at": None,
}
PENDING = KEY | {
    "selector": "20261127a-rsa",
    "state": "pending",
    "name": "20261127a-rsa._domainkey.a.test",
    "activated_at": None,
}
RECORDS = [{"name": key["name"], "ttl": 3600, "strings": ["v=DKIM1; ", "p=AA"]} for key in (KEY, PENDING)]
OK = {"level": "ok", "topic": "mx", "name": "a.test", "text": "Fine.", "expected": "10 m.", "found": ["10 m"]}
WRONG = {"level": "error", "topic": "spf", "name": "a.test", "text": "Two.", "expected": "v=spf1", "found": ["x", "y"]}


class Api:
    """Answers by method and path; what was asked is in `asked`."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.findings = [OK]
        self.keys = [KEY, PENDING]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(f"{request.method} {request.url.path}")
        ok = all(finding["level"] != "error" for finding in self.findings)
        answers: dict[str, Any] = {
            "dns": {"domain": "a.test", "zone": "; DNS\na.test. 3600 IN MX 10 m.\n", "records": RECORDS},
            "check": {"domain": "a.test", "ok": ok, "findings": self.findings},
        }
        return httpx.Response(200, json=answers.get(request.url.path.rpartition("/")[2], {"keys": self.keys}))


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    made = Api()
    settings = ApiSettings("http://api.test", "token")
    monkeypatch.setattr(domain_dns, "connect", lambda: Client(settings, httpx.MockTransport(made)))
    return made


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    monkeypatch.setattr("sys.argv", ["mailboatctl", "domain", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0), capsys.readouterr().out


def test_the_zone_file_is_printed_as_it_is(
    api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, capsys, "dns", "a.test") == (0, "; DNS\na.test. 3600 IN MX 10 m.\n")
    status, text = run(monkeypatch, capsys, "dns", "a.test", "--json")
    assert (status, json.loads(text)["records"]) == (0, RECORDS)
    assert api.asked == ["GET /v1/domains/a.test/dns"] * 2


def test_the_check_tells_by_its_status(
    api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, capsys, "check", "a.test") == (0, "1 as they should be, 0 hints, 0 warnings, 0 errors.\n")
    api.findings = [OK, WRONG]
    status, text = run(monkeypatch, capsys, "check", "a.test")
    assert (status, [line.strip() for line in text.splitlines()]) == (
        1,
        [
            "error   spf a.test",
            "Two.",
            "found:    x",
            "found:    y",
            "expected: v=spf1",
            "1 as they should be, 0 hints, 0 warnings, 1 errors.",
        ],
    )
    assert "ok      mx a.test" in run(monkeypatch, capsys, "check", "a.test", "--all")[1]
    status, text = run(monkeypatch, capsys, "check", "a.test", "--json")
    assert (status, json.loads(text)["ok"]) == (1, False)


def test_keys(api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = run(monkeypatch, capsys, "dkim", "a.test")
    rows = [line.split() for line in text.splitlines()[1:]]
    assert (status, [row[:3] for row in rows]) == (
        0,
        [["20261126a-rsa", "rsa-sha256", "active"], ["20261127a-rsa", "rsa-sha256", "pending"]],
    )
    status, text = run(monkeypatch, capsys, "dkim-rotate", "a.test")
    assert (status, text) == (0, '20261127a-rsa._domainkey.a.test. 3600 IN TXT "v=DKIM1; " "p=AA"\n')
    assert run(monkeypatch, capsys, "dkim-activate", "a.test")[0] == 0
    for command in ("dkim", "dkim-rotate", "dkim-activate"):
        assert json.loads(run(monkeypatch, capsys, command, "a.test", "--json")[1]) == {"keys": api.keys}
    assert {"POST /v1/domains/a.test/dkim/rotate", "POST /v1/domains/a.test/dkim/activate"} <= set(api.asked)
