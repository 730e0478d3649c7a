"""Packages are installed as root or through sudo, never with their services, and it is said when neither can be."""

import os
import stat
from pathlib import Path

import pytest
from mailboat_local import apt
from mailboat_local.layout import StackError

RECORDER = """#!/bin/sh
echo "$(basename "$0") $*" >> "$RECORD"
[ -e "$POLICY" ] && echo "policy: $("$POLICY"; echo $?)" >> "$RECORD"
exit ${FAIL:-0}
"""


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH whose apt-get only notes how it was called; returns the notes."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "apt-get"
    program.write_text(RECORDER)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    policy = tmp_path / "policy-rc.d"
    monkeypatch.setattr(apt, "POLICY", policy)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("RECORD", str(tmp_path / "record"))
    monkeypatch.setenv("POLICY", str(policy))
    return tmp_path / "record"


def test_install_keeps_services_off_and_cleans_up(commands: Path, tmp_path: Path) -> None:
    apt.install(["rabbitmq-server"], why="the message bus")
    lines = commands.read_text().splitlines()
    assert [line for line in lines if line.endswith(("update", "rabbitmq-server"))] == [
        "apt-get -q -y -o DPkg::Lock::Timeout=120 update",
        "apt-get -q -y -o DPkg::Lock::Timeout=120 install --no-install-recommends rabbitmq-server",
    ]
    assert lines.count("policy: 101") == 2
    assert not (tmp_path / "policy-rc.d").exists()


def test_a_policy_that_is_there_stays(commands: Path, tmp_path: Path) -> None:
    (tmp_path / "policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
    apt.install(["rabbitmq-server"], why="the message bus")
    assert (tmp_path / "policy-rc.d").exists()


def test_a_failed_install_is_told(commands: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FAIL", "100")
    with pytest.raises(StackError, match="apt-get could not install rabbitmq-server"):
        apt.install(["rabbitmq-server"], why="the message bus")
    assert not (tmp_path / "policy-rc.d").exists()


def test_neither_root_nor_sudo(commands: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", str(Path(os.environ["PATH"].split(":")[0])))
    with pytest.raises(StackError, match=r"neither be root nor use sudo.*apt-get install rabbitmq-server"):
        apt.install(["rabbitmq-server"], why="the message bus")
    assert not commands.exists()


def test_no_apt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackError, match="no apt-get"):
        apt.install(["rabbitmq-server"], why="the message bus")
