"""mbsync (isync): two-way synchronisation of folders, messages, flags and deletions with a Maildir, over TLS and
STARTTLS. Each run may meet the other pod."""

from __future__ import annotations

import imaplib
import subprocess
from pathlib import Path

import pytest

from tests.support.stack import Account, LiveStack, message

pytestmark = pytest.mark.stack


class Maildirs:
    """A local copy of an account, kept by mbsync."""

    def __init__(self, program: str, directory: Path, live: LiveStack, account: Account) -> None:
        self._program, self._directory, self._live, self._account = program, directory, live, account
        self.root = directory / "mail"
        self.root.mkdir(parents=True)
        (directory / "password").write_text(account.password + "\n")

    def sync(self, pod: int, tls: str = "IMAPS") -> None:
        """One run, through this pod. AssertionError with its words if it doesn't succeed."""
        port = self._live.stack.ports(f"imap_gateway-{pod}")["imaps" if tls == "IMAPS" else "imap"]
        config = self._directory / "mbsyncrc"
        config.write_text(
            f"IMAPAccount live\nHost localhost\nPort {port}\nUser {self._account.address}\n"
            f'PassCmd "cat {self._directory}/password"\n{self._tls_word()} {tls}\nSystemCertificates no\n'
            f"CertificateFile {self._live.stack.layout.ca}\n\n"
            f"IMAPStore far\nAccount live\n\n"
            f"MaildirStore near\nPath {self.root}/\nInbox {self.root}/INBOX\nSubFolders Verbatim\n\n"
            f"Channel all\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nRemove Both\nExpunge Both\nSyncState *\n"
        )
        done = subprocess.run([self._program, "-c", str(config), "-a"], capture_output=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr.decode()

    def _tls_word(self) -> str:
        """Version 1.5 renamed SSLType."""
        version = subprocess.run([self._program, "--version"], capture_output=True, check=True).stdout.split()[-1]
        return "TLSType" if tuple(int(part) for part in version.split(b".")[:2]) >= (1, 5) else "SSLType"

    def messages(self, folder: str) -> dict[str, Path]:
        """Subject → file."""
        files = [*self.root.joinpath(folder, "cur").glob("*"), *self.root.joinpath(folder, "new").glob("*")]
        return {self.subject(path): path for path in files}

    @staticmethod
    def subject(path: Path) -> str:
        lines = path.read_text().splitlines()
        return next(line.removeprefix("Subject: ") for line in lines if line.startswith("Subject: "))

    def flag(self, folder: str, subject: str, flags: str) -> None:
        """Give a file the flags of the Maildir format: F flagged, R replied, S seen, T trashed."""
        path = self.messages(folder)[subject]
        path.rename(path.parent.parent / "cur" / f"{path.name.partition(':')[0]}:2,{flags}")

    def add(self, folder: str, subject: str) -> None:
        """A new message, as a local program files it."""
        for name in ("cur", "new", "tmp"):
            (self.root / folder / name).mkdir(parents=True, exist_ok=True)
        (self.root / folder / "new" / f"{subject}.local").write_bytes(message(subject).replace(b"\r\n", b"\n"))


class Server:
    """What is in the account, asked with imaplib through the other pod."""

    def __init__(self, live: LiveStack, account: Account) -> None:
        port = live.stack.ports("imap_gateway-2")["imaps"]
        self.imap = imaplib.IMAP4_SSL("localhost", port, ssl_context=live.tls, timeout=30)
        self.imap.login(account.address, account.password)

    def append(self, folder: str, subject: str) -> None:
        assert self.imap.append(folder, "", "", message(subject))[0] == "OK"

    def found(self, folder: str, criterion: str = "ALL") -> set[str]:
        """The subjects of messages that match."""
        assert self.imap.select(folder, readonly=True)[0] == "OK"
        subjects = set()
        for number in self.imap.search(None, criterion)[1][0].split():
            _, (item, _) = self.imap.fetch(number.decode(), "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
            assert isinstance(item, tuple)
            subjects.add(item[1].decode().strip().removeprefix("Subject: "))
        return subjects

    def change(self, folder: str, subject: str, flags: str) -> None:
        assert self.imap.select(folder)[0] == "OK"
        (number,) = self.imap.search(None, "SUBJECT", subject)[1][0].split()
        assert self.imap.store(number.decode(), "+FLAGS", flags)[0] == "OK"

    def folders(self) -> set[str]:
        return {line.split(b' "/" ')[1].decode().strip('"') for line in self.imap.list()[1] if isinstance(line, bytes)}


def test_two_way_sync(mbsync: str, live_stack: LiveStack, tmp_path: Path) -> None:
    account = live_stack.account()
    near, far = Maildirs(mbsync, tmp_path, live_stack, account), Server(live_stack, account)
    for subject in ("one", "two", "three"):
        far.append("INBOX", subject)
    assert far.imap.create("Work/2026")[0] == "OK"
    far.append("Work/2026", "plan")

    near.sync(1)
    assert near.messages("INBOX").keys() == {"one", "two", "three"}
    assert near.messages("Work/2026").keys() == {"plan"}
    assert near.messages("INBOX")["two"].read_bytes().endswith(b"\n\nHello\n")

    # Both sides change: flags, additions, deletions, a folder.
    near.flag("INBOX", "one", "FS")
    near.flag("INBOX", "two", "ST")
    near.add("INBOX", "written-near")
    near.add("Near", "in-a-new-folder")
    far.change("INBOX", "three", r"(\Answered \Seen)")
    far.append("INBOX", "written-far")
    far.change("Work/2026", "plan", r"(\Deleted)")
    near.sync(2, "STARTTLS")

    assert far.found("INBOX") == near.messages("INBOX").keys() == {"one", "three", "written-near", "written-far"}
    assert far.found("INBOX", "FLAGGED SEEN") == {"one"}
    assert near.messages("INBOX")["three"].name.endswith(":2,RS")
    assert far.found("Work/2026") == near.messages("Work/2026").keys() == set()
    assert far.found("Near") == {"in-a-new-folder"}
    assert {"Work/2026", "Near", "INBOX"} <= far.folders()

    # Nothing is left to do: another run, through the first pod again, changes nothing on either side.
    before = {path: path.stat().st_mtime_ns for path in near.root.rglob("*:2,*")}
    near.sync(1)
    assert {path: path.stat().st_mtime_ns for path in near.root.rglob("*:2,*")} == before
    assert far.found("INBOX") == {"one", "three", "written-near", "written-far"}


def test_fifty_messages_arrive_once_on_every_device(mbsync: str, live_stack: LiveStack, tmp_path: Path) -> None:
    """A first synchronisation of a mailbox that isn't small, then one to a second device."""
    account = live_stack.account()
    far = Server(live_stack, account)
    subjects = {f"number-{number}" for number in range(50)}
    for subject in sorted(subjects):
        far.append("INBOX", subject)
    for device in ("laptop", "phone"):
        near = Maildirs(mbsync, tmp_path / device, live_stack, account)
        near.sync(1)
        assert near.messages("INBOX").keys() == subjects
        assert len(list((near.root / "INBOX").glob("*/*"))) == 50
