"""mbsync (isync): two-way synchronisation of folders, messages, flags and deletions with a Maildir, over TLS and
STARTTLS. Each run may meet the other pod."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.interop.far import Server, large
from tests.interop.near import Maildirs
from tests.support.stack import Account, LiveStack

pytestmark = pytest.mark.stack


class Mbsync(Maildirs):
    """A local copy of an account, kept by mbsync."""

    def __init__(self, program: str, directory: Path, live: LiveStack, account: Account) -> None:
        super().__init__(directory / "mail")
        self._program, self._directory, self._live, self._account = program, directory, live, account
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

    def uid_validity(self, folder: str) -> tuple[str, ...]:
        """The UIDVALIDITY of both sides as mbsync remembers them; it gives a folder up whose number changes."""
        state = (self.root / folder / ".mbsyncstate").read_text()
        return tuple(re.findall(r"^(?:Far|Near)UidValidity \d+$", state, re.MULTILINE))


def test_two_way_sync(mbsync: str, live_stack: LiveStack, tmp_path: Path) -> None:
    account = live_stack.account()
    near, far = Mbsync(mbsync, tmp_path, live_stack, account), Server(live_stack, account)
    for subject in ("one", "two", "three"):
        far.append("INBOX", subject)
    far.create("Work/2026")
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
        near = Mbsync(mbsync, tmp_path / device, live_stack, account)
        near.sync(1)
        assert near.messages("INBOX").keys() == subjects
        assert len(list((near.root / "INBOX").glob("*/*"))) == 50


def test_resync_after_a_pause(mbsync: str, live_stack: LiveStack, tmp_path: Path) -> None:
    """What another client did meanwhile through the other pod: new, flagged, removed, a folder made, renamed, removed.
    Names of folders stay as they are on the wire, in modified UTF-7; folders that lose their other side are removed when
    they are empty."""
    account = live_stack.account()
    near, far = Mbsync(mbsync, tmp_path, live_stack, account), Server(live_stack, account)
    for folder in ("Entwürfe/日本", "Old"):
        far.create(folder)
    far.append("Entwürfe/日本", "in-Ent")
    for subject in ("one", "two", "three"):
        far.append("INBOX", subject)
    near.sync(1)
    assert near.messages("Entw&APw-rfe/&ZeVnLA-").keys() == {"in-Ent"}
    state = near.uid_validity("INBOX")

    far.change("INBOX", "two", r"(\Flagged)")
    far.append("INBOX", "four", r"(\Seen)")
    far.expunge("INBOX", "one")
    far.rename("Entwürfe/日本", "Entwürfe/Zürich")
    far.create("New")
    far.append("New", "in-New")
    assert far.imap.delete("Old")[0] == "OK"
    near.sync(1, "STARTTLS")

    assert near.messages("INBOX").keys() == {"two", "three", "four"}
    assert near.messages("INBOX")["two"].name.endswith(":2,F")
    assert near.messages("INBOX")["four"].name.endswith(":2,S")
    assert near.messages("Entw&APw-rfe/Z&APw-rich").keys() == {"in-Ent"}
    assert near.messages("New").keys() == {"in-New"}
    assert not (near.root / "Old").exists()
    assert near.uid_validity("INBOX") == state
    assert {"INBOX", "Entwürfe/Zürich", "New"} <= far.folders()
    assert not {"Entwürfe/日本", "Old"} & far.folders()


def test_thirty_megabytes_up_and_down(mbsync: str, live_stack: LiveStack, tmp_path: Path) -> None:
    """Up from one device, down to another: every byte, but for the line ends and the header field X-TUID that mbsync
    writes where it needs to find its own message again."""
    account = live_stack.account()
    content = large("mbsync")
    one, other = (Mbsync(mbsync, tmp_path / name, live_stack, account) for name in ("laptop", "phone"))
    one.sync(1)
    (one.root / "INBOX" / "new" / "large.local").write_bytes(content.replace(b"\r\n", b"\n"))
    one.sync(2)
    other.sync(1)
    arrived = other.messages("INBOX")["mbsync"].read_bytes()
    assert re.sub(rb"^X-TUID: .*\n", b"", arrived, count=1, flags=re.MULTILINE) == content.replace(b"\r\n", b"\n")
