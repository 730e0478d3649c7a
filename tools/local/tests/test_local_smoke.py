"""``mailboat-local smoke``: what it tests, and that there must be something to test."""

from pathlib import Path

import pytest
from mailboat_local import pki
from mailboat_local.main import main
from mailboat_local.smoke import targets
from mailboat_local.stack import Stack
from mailboatctl.smoke.endpoint import Endpoint


def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str]:
    monkeypatch.setattr("sys.argv", ["mailboat-local", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code, capsys.readouterr().err


def test_a_stack_must_be_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = told(monkeypatch, capsys, "smoke", "--directory", str(tmp_path))
    assert ended == (1, "mailboat-local: The stack is not running. make up starts it.\n")


def test_what_is_tested(tmp_path: Path) -> None:
    stack = Stack(tmp_path, port_offset=3000, replicas=2)
    stack.layout.create()
    pki.ensure(stack.layout, "mail.example.test")
    found = targets(stack)
    assert (found.smtp, found.submission) == (Endpoint("localhost", 3025), Endpoint("localhost", 3587))
    assert (found.imaps, found.pop3s) == (Endpoint("localhost", 3993), Endpoint("localhost", 3995))
    ports = (12101, 12201, 12102, 12202, 12103, 12203)
    assert found.metrics == tuple(f"http://127.0.0.1:{port}/metrics" for port in ports)
    assert found.domain is None
    assert len(found.tls.get_ca_certs()) == 1
