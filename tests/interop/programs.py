"""Installs mail clients that aren't ours, and runs them.

Debian's packages come by apt, all that are missing in one call, before the first test that uses one of them; imapflow
comes by npm, with every version pinned in `imapflow/package.json`, into `.local/interop/`. Workers that test side by side
take turns. Where something can't be installed the test fails, and says what to do by hand.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from mailboat_local import apt
from mailboat_local.layout import StackError

from tests.support.documents import ROOT

INSTALLED = ROOT / ".local" / "interop"
JARS = ("/usr/share/java/javax.mail.jar", "/usr/share/java/javax.activation.jar")
SECONDS = 120.0

# What must be there → the packages that bring it.
PACKAGES: Mapping[str, Sequence[str]] = {
    "curl": ["curl"],
    "jq": ["jq"],
    "mbsync": ["isync"],
    "offlineimap": ["offlineimap3"],
    "fetchmail": ["fetchmail"],
    "getmail": ["getmail6"],
    "mutt": ["mutt"],
    "node": ["nodejs"],
    "npm": ["npm"],
    "javac": ["default-jdk-headless"],
    "/usr/share/java/javax.mail.jar": ["libmail-java"],
    "/usr/share/perl5/Mail/IMAPClient.pm": ["libmail-imapclient-perl"],
    "/usr/share/perl5/IO/Socket/SSL.pm": ["libio-socket-ssl-perl"],
}


@cache
def program(name: str) -> str:
    """The path of one of `PACKAGES`. If it is missing all of them that are missing are installed. What is there while
    another worker installs may not work yet: each looks when its turn comes."""
    with _alone():
        if not _there(name):
            missing = [package for wanted, packages in PACKAGES.items() if not _there(wanted) for package in packages]
            _or_fail(lambda: apt.install(missing, why="mail clients that the tests use"))
    found = shutil.which(name)
    assert found or Path(name).is_file(), f"{PACKAGES[name]} is installed and brings no {name}"
    return found or name


@cache
def imapflow() -> Path:
    """The directory that NODE_PATH must name."""
    npm, pinned = program("npm"), Path(__file__).parent / "imapflow" / "package.json"
    directory = INSTALLED / "imapflow"
    with _alone():
        if not _same(directory / "installed.json", pinned):
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(parents=True)
            shutil.copy(pinned, directory / "package.json")
            # No scripts of packages run; no lock file, which would hold addresses.
            command = [npm, "install", "--no-save", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund"]
            done = subprocess.run(command, cwd=directory, capture_output=True, check=False, timeout=300)
            assert done.returncode == 0, done.stderr.decode()
            shutil.copy(pinned, directory / "installed.json")
    return directory / "node_modules"


def run(command: Sequence[str | Path], *, status: int = 0, **environment: str) -> str:
    """What a program wrote, both streams. AssertionError with it if the program ends otherwise than expected."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        timeout=SECONDS, env=os.environ | environment,
    )  # fmt: skip
    output = done.stdout.decode("utf-8", "replace")
    assert done.returncode == status, (done.returncode, output)
    return output


class Script:
    """A client's script in its own language. It reads lines of JSON, the first with its options, and prints such lines:
    {"result": ...} or {"error": ...} for each {"call": ..., "arguments": [...]}, and {"event": ...} between them."""

    def __init__(self, command: Sequence[str | Path], options: dict[str, Any], **environment: str) -> None:
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 (until close())
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._complaints,
            env=os.environ | environment,
        )  # fmt: skip
        self._watchdog = threading.Timer(SECONDS, self._process.kill)
        self._watchdog.start()
        self.events: list[dict[str, Any]] = []
        self.tell(options)

    def tell(self, value: object) -> None:
        """A line of JSON to the script."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(value).encode() + b"\n")
        self._process.stdin.flush()

    def said(self) -> Any:
        """The next line's value. AssertionError with the script's words if it ended, or said nothing for too long."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, self._words()
        return json.loads(line)

    def call(self, method: str, *arguments: object, **more: object) -> Any:
        """A call's result; `events` gathers what comes before it. AssertionError if it fails."""
        self.tell({"call": method, "arguments": arguments, **more})
        while "event" in (answer := self.said()):
            self.events.append(answer)
        assert "result" in answer, (method, answer)
        return answer["result"]

    def event(self, name: str) -> dict[str, Any]:
        """The next event of this name, from now or from the calls before; others are passed over."""
        while True:
            event: dict[str, Any] = self.events.pop(0) if self.events else self.said()
            if event.get("event") == name:
                return event

    def end(self) -> None:
        """The script must end by itself, having said all, when its input ends."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        rest = self._process.stdout.read()
        assert (self._process.wait(), rest) == (0, b""), (rest, self._words())

    def _words(self) -> str:
        self._complaints.seek(0)
        return self._complaints.read().decode("utf-8", "replace")

    def close(self) -> None:
        """Whatever it does, it is over."""
        self._watchdog.cancel()
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._complaints):
            with suppress(BrokenPipeError):
                pipe.close()  # type: ignore[union-attr]


def _there(wanted: str) -> bool:
    return shutil.which(wanted) is not None or Path(wanted).is_file()


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and one.read_bytes() == other.read_bytes()


def _or_fail(install: Callable[[], None]) -> None:
    try:
        install()
    except StackError as error:
        pytest.fail(str(error), pytrace=False)


@contextmanager
def _alone() -> Iterator[None]:
    INSTALLED.mkdir(parents=True, exist_ok=True)
    with (INSTALLED / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
