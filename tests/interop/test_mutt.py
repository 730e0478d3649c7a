"""mutt on a terminal, driven by keys: header cache with CONDSTORE, IDLE, flags, folders with names of other scripts, sending;
over TLS and STARTTLS."""

from __future__ import annotations

import os
import pty
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.far import Server, large
from tests.interop.programs import SECONDS, run
from tests.support.stack import Account, LiveStack, message

pytestmark = pytest.mark.stack


class Mutt:
    """One person's mutt, with its header cache and a log of what it said to the server."""

    def __init__(self, program: str, directory: Path, live: LiveStack, account: Account) -> None:
        self._program, self._directory, self._live, self._account = program, directory, live, account
        (directory / "cache").mkdir()
        self._running: subprocess.Popen[bytes] | None = None

    def config(self, pod: int, *, tls: bool = True, more: str = "") -> Path:
        port = self._live.stack.ports(f"imap_gateway-{pod}")["imaps" if tls else "imap"]
        submission = self._live.stack.ports(f"smtp_ingress-{pod}")["submissions" if tls else "submission"]
        user = self._account.address.replace("@", "%40")
        # The header cache is kept for a server's name, port and user: both pods are behind one name in the field.
        path = self._directory / "muttrc"
        path.write_text(
            f'set ssl_ca_certificates_file="{self._live.stack.layout.ca}" certificate_file=""\n'
            f"set ssl_starttls=yes ssl_force_tls=yes imap_pass='{self._account.password}'\n"
            f"set smtp_pass='{self._account.password}' from='{self._account.address}' realname=Carol\n"
            f'set smtp_url="{"smtps" if tls else "smtp"}://{user}@localhost:{submission}/" copy=no\n'
            f'set folder="{"imaps" if tls else "imap"}://{user}@localhost:{port}/" spoolfile="+INBOX"\n'
            f'set header_cache="{self._directory}/cache" imap_condstore=yes imap_qresync=yes imap_idle=yes\n'
            "set charset=utf-8 send_charset=utf-8 assumed_charset=utf-8 quit=yes delete=yes wait_key=no mark_old=no sort=date-received\n"
            "set confirmappend=no confirmcreate=no move=no imap_check_subscribed=no beep=no timeout=1\n" + more
        )
        return path

    def press(self, keys: str, pod: int, *, tls: bool = True, more: str = "") -> str:
        """Start, press these keys, and see it end. What it said to the server."""
        self.start(keys + "<quit>", pod, tls=tls, more=more)
        assert self.end() == 0
        return (self._directory / ".muttdebug0").read_text("utf-8", "replace")

    def start(self, keys: str, pod: int, *, tls: bool = True, more: str = "") -> None:
        """Start and press these keys."""
        master, slave = pty.openpty()
        environment = {"TERM": "xterm", "HOME": str(self._directory), "LC_ALL": "C.UTF-8"}
        config = str(self.config(pod, tls=tls, more=more))
        command = [self._program, "-d", "2", "-F", config, "-e", f'push "{keys}"']
        self._running = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=os.environ | environment, start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        self._master = master
        threading.Thread(target=self._look, args=(master,), daemon=True).start()

    def submit(self, subject: str, text: str, pod: int, *, tls: bool) -> None:
        """Send a message to the account itself."""
        (self._directory / "text").write_text(text)
        run(
            [
                self._program, "-F", self.config(pod, tls=tls), "-s", subject, "-i", self._directory / "text",
                self._account.address,
            ],
            HOME=str(self._directory), LC_ALL="C.UTF-8", TERM="xterm",
        )  # fmt: skip

    @staticmethod
    def _look(master: int) -> None:
        """A terminal that nobody looks at."""
        try:
            while os.read(master, 65536):
                pass
        except OSError:
            os.close(master)

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def end(self) -> int:
        """The exit status."""
        assert self._running is not None
        return self._running.wait(SECONDS)

    def close(self) -> None:
        if self._running is not None and self._running.poll() is None:
            self._running.kill()
            self._running.wait()


@pytest.fixture
def account(live_stack: LiveStack) -> Account:
    return live_stack.account()


@pytest.fixture
def near(mutt: str, tmp_path: Path, live_stack: LiveStack, account: Account) -> Iterator[Mutt]:
    made = Mutt(mutt, tmp_path, live_stack, account)
    yield made
    made.close()


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "starttls"])
def test_mutt_reads_flags_files_and_removes(near: Mutt, live_stack: LiveStack, account: Account, tls: bool) -> None:
    far = Server(live_stack, account, pod=2)
    for subject in ("one", "two", "three"):
        far.append("INBOX", subject)
    far.create("Entwürfe/日本")
    near.press(
        "<limit>~s one<enter><flag-message>"
        "<limit>~s two<enter><copy-message><kill-line>=Entwürfe/日本<enter>"
        "<limit>~s three<enter><save-message><kill-line>=New<enter>"
        "<limit>all<enter>",
        1, tls=tls,
    )  # fmt: skip
    assert far.found("INBOX") == {"one", "two"}
    assert far.found("INBOX", "FLAGGED") == {"one"}
    assert far.found("Entwürfe/日本") == {"two"}
    assert far.found("New") == {"three"}


def test_mutt_lets_the_server_search(near: Mutt, live_stack: LiveStack, account: Account) -> None:
    far = Server(live_stack, account)
    far.file("INBOX", message("=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "Zürich\r\n".encode()))
    far.append("INBOX", "other")
    said = near.press("<tag-pattern>=b Zürich<enter><tag-prefix><copy-message><kill-line>=Found<enter>", 1)
    assert any("UID SEARCH" in line for line in said.splitlines())
    assert len(far.found("Found")) == 1


def test_mutts_header_cache_holds_after_a_pause(near: Mutt, live_stack: LiveStack, account: Account) -> None:
    """With the cache of last time it asks for what changed since that modseq, and its view is right."""
    far = Server(live_stack, account, pod=2)
    for subject in ("one", "two", "three"):
        far.append("INBOX", subject)
    near.press("", 1)
    far.change("INBOX", "two", r"(\Flagged)")
    far.append("INBOX", "four")
    far.expunge("INBOX", "one")
    said = near.press("<tag-pattern>~F<enter><tag-prefix><copy-message><kill-line>=Seen<enter>", 1)
    assert "CHANGEDSINCE" in said or "QRESYNC (" in said
    assert "UIDVALIDITY changed" not in said
    assert far.found("Seen") == {"two"}
    near.press("<tag-pattern>~A<enter><tag-prefix><copy-message><kill-line>=All<enter>", 1)
    assert far.found("All") == {"two", "three", "four"}


def test_mutt_idles_and_hears_of_the_other_pod(
    near: Mutt, live_stack: LiveStack, account: Account, tmp_path: Path
) -> None:
    """The command for new mail runs; it makes a file that a reader waits for."""
    far = Server(live_stack, account, pod=2)
    far.append("INBOX", "before")
    heard = tmp_path / "heard"
    os.mkfifo(heard)
    near.start("<refresh>", 1, more=f'set new_mail_command="echo %n > {heard}" mail_check=1\n')
    reading = threading.Thread(target=heard.read_text, daemon=True)
    reading.start()
    log = tmp_path / ".muttdebug0"
    while not (log.exists() and "IDLE" in log.read_text("utf-8", "replace")):
        assert near._running is not None
        assert near._running.poll() is None
    far.append("INBOX", "news")
    reading.join(SECONDS)
    assert not reading.is_alive()
    said = log.read_text("utf-8", "replace")
    assert "> DONE" in said
    assert "NOOP" not in said
    near.type(b"q")
    assert near.end() == 0


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "starttls"])
def test_mutt_submits(near: Mutt, live_stack: LiveStack, account: Account, tls: bool) -> None:
    near.submit("Grüße aus mutt", "Hällo\n.\n", 1, tls=tls)
    far = Server(live_stack, account)
    assert far.imap.select("INBOX") == ("OK", [b"1"])
    assert "Hällo\r\n.\r\n".encode() in far.content("INBOX", "aus mutt")


def test_mutt_takes_thirty_megabytes_down(near: Mutt, live_stack: LiveStack, account: Account, tmp_path: Path) -> None:
    content = large("mutt")
    Server(live_stack, account).file("INBOX", content)
    near.press(f"<pipe-message>cat > {tmp_path}/down<enter>", 2, more="unignore *\nset pipe_decode=no\n")
    assert (tmp_path / "down").read_bytes() == content.replace(b"\r\n", b"\n")
