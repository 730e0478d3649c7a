"""fetchmail: POP3 with UIDL and mail that stays on the server, POP3 and IMAP that empty it, over TLS and STARTTLS."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.far import Server, large
from tests.interop.programs import run
from tests.support.stack import Account, LiveStack, message

pytestmark = pytest.mark.stack


class Fetchmail:
    """One person's fetchmail, with its list of seen UIDLs. Each message it brings becomes a file."""

    def __init__(self, program: str, directory: Path, live: LiveStack, account: Account) -> None:
        self._program, self._directory, self._live, self._account = program, directory, live, account
        self.arrived = directory / "arrived"
        self.arrived.mkdir(parents=True)

    def poll(
        self, pod: int, protocol: str, *, keep: bool, flush: bool = False, tls: bool = True, status: int = 0
    ) -> list[bytes]:
        """What this run brought, in the order of arrival. Exit status 1: there was nothing."""
        service = {"POP3": "pop3", "IMAP": "imap"}[protocol]
        port = self._live.stack.ports(f"{service}_gateway-{pod}")[service + ("s" if tls else "")]
        config = self._directory / "fetchmailrc"
        config.write_text(
            f"set invisible\n"
            f"poll localhost proto {protocol} port {port} {'uidl' if protocol == 'POP3' else ''}\n"
            f'user "{self._account.address}" password "{self._account.password}"\n'
            f'{"ssl" if tls else ""} sslproto "TLS1.2+" sslcertck sslcertfile "{self._live.stack.layout.ca}"\n'
            f'{"keep" if keep else "nokeep"} {"flush" if flush else ""} no rewrite mda "cat > {self.arrived}/$$.mail"\n'
        )
        config.chmod(0o600)
        run(
            [self._program, "-f", config, "-i", self._directory / "ids", "--pidfile", self._directory / "pid"],
            status=status, FETCHMAILHOME=str(self._directory),
        )  # fmt: skip
        files = sorted(self.arrived.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        contents = [path.read_bytes() for path in files]
        for path in files:
            path.unlink()
        return contents


def lines(content: bytes) -> bytes:
    """A message as local programs keep it."""
    return content.replace(b"\r\n", b"\n")


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "starttls"])
def test_mail_that_is_kept_comes_once(fetchmail: str, live_stack: LiveStack, tmp_path: Path, tls: bool) -> None:
    """UIDLs last: whichever pod is asked, whatever else was removed, only what is new is brought."""
    account = live_stack.account()
    far = Server(live_stack, account)
    near = Fetchmail(fetchmail, tmp_path, live_stack, account)
    sent = {subject: message(subject, b".\r\n..dots\r\nend\r\n") for subject in ("one", "two", "three")}
    far.file("INBOX", sent["one"])
    far.file("INBOX", sent["two"])
    assert near.poll(1, "POP3", keep=True, tls=tls) == [lines(sent["one"]), lines(sent["two"])]
    assert near.poll(2, "POP3", keep=True, tls=tls, status=1) == []
    far.expunge("INBOX", "one")
    far.file("INBOX", sent["three"])
    assert near.poll(2, "POP3", keep=True, tls=tls) == [lines(sent["three"])]
    assert far.found("INBOX") == {"two", "three"}
    # `flush` removes what was brought before.
    assert near.poll(1, "POP3", keep=False, flush=True, tls=tls, status=1) == []
    assert far.found("INBOX") == set()


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "starttls"])
def test_imap_is_emptied_after_what_is_unseen_was_brought(
    fetchmail: str, live_stack: LiveStack, tmp_path: Path, tls: bool
) -> None:
    account = live_stack.account()
    far = Server(live_stack, account)
    near = Fetchmail(fetchmail, tmp_path, live_stack, account)
    kept, taken = message("kept"), message("taken")
    far.file("INBOX", kept)
    assert near.poll(1, "IMAP", keep=True, tls=tls) == [lines(kept)]
    assert far.found("INBOX", "SEEN") == {"kept"}
    far.file("INBOX", taken)
    assert near.poll(2, "IMAP", keep=False, tls=tls) == [lines(taken)]
    assert far.found("INBOX") == {"kept"}


@pytest.mark.parametrize("protocol", ["POP3", "IMAP"])
def test_thirty_megabytes_come_down(fetchmail: str, live_stack: LiveStack, tmp_path: Path, protocol: str) -> None:
    account = live_stack.account()
    far = Server(live_stack, account)
    content = large("fetchmail")
    far.file("INBOX", content)
    assert Fetchmail(fetchmail, tmp_path, live_stack, account).poll(2, protocol, keep=False) == [lines(content)]
    assert far.found("INBOX") == set()
