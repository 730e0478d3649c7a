"""offlineimap: two-way synchronisation with a Maildir that goes by UIDs, with names of folders and keywords of its own,
over TLS. Each run may meet the other pod.

Not over STARTTLS: its imaplib2 reads and writes one TLS object from two threads, which Python's ssl doesn't allow, and
now and then the first command after the handshake is never sent. With TLS from the start our greeting comes first."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.far import Server, large
from tests.interop.near import Maildirs
from tests.interop.programs import run
from tests.support.stack import Account, LiveStack

pytestmark = pytest.mark.stack


class Offlineimap(Maildirs):
    """A local copy of an account, kept by offlineimap. The letter `a` stands for the keyword $Label1, which comes
    down and never goes up."""

    def __init__(self, program: str, directory: Path, live: LiveStack, account: Account) -> None:
        super().__init__(directory / "mail")
        self._program, self._directory, self._live, self._account = program, directory, live, account
        (directory / "password").write_text(account.password)

    def sync(self, pod: int, *, status: int = 0) -> str:
        """One run, through this pod; what it said. AssertionError with it if it doesn't succeed."""
        port = self._live.stack.ports(f"imap_gateway-{pod}")["imaps"]
        config = self._directory / "offlineimaprc"
        config.write_text(
            f"[general]\nmetadata = {self._directory}/meta\naccounts = live\nui = basic\nfsync = no\n"
            f"[Account live]\nlocalrepository = near\nremoterepository = far\nutf8foldernames = yes\n"
            f"[Repository near]\ntype = Maildir\nlocalfolders = {self.root}\nsep = /\nsync_deletes = yes\n"
            f"customflag_a = $Label1\n"
            f"[Repository far]\ntype = IMAP\nremotehost = localhost\nremoteport = {port}\n"
            f"remoteuser = {self._account.address}\nremotepassfile = {self._directory}/password\n"
            f"ssl = yes\nsslcacertfile = {self._live.stack.layout.ca}\n"
        )
        return run([self._program, "-o", "-c", config], status=status, PYTHONWARNINGS="ignore")


def test_two_way_sync_with_folders_flags_and_keywords(offlineimap: str, live_stack: LiveStack, tmp_path: Path) -> None:
    account = live_stack.account()
    near, far = Offlineimap(offlineimap, tmp_path, live_stack, account), Server(live_stack, account)
    for subject in ("one", "two", "three"):
        far.append("INBOX", subject)
    far.create("Entwürfe/日本")
    far.append("Entwürfe/日本", "plan")

    near.sync(1)
    assert near.messages("INBOX").keys() == {"one", "two", "three"}
    assert near.messages("Entwürfe/日本").keys() == {"plan"}

    near.flag("INBOX", "one", "FS")
    near.remove("INBOX", "two")
    near.add("INBOX", "written-near")
    near.add("Zürich", "in-a-new-folder")
    far.change("INBOX", "three", r"(\Answered $Label1)")
    far.append("INBOX", "written-far")
    far.expunge("Entwürfe/日本", "plan")
    near.sync(2)

    assert far.found("INBOX") == near.messages("INBOX").keys() == {"one", "three", "written-near", "written-far"}
    assert far.found("INBOX", "FLAGGED SEEN") == {"one"}
    assert near.messages("INBOX")["three"].name.endswith(":2,Ra")
    assert far.found("Entwürfe/日本") == near.messages("Entwürfe/日本").keys() == set()
    assert far.found("Zürich") == {"in-a-new-folder"}

    # Nothing is left to do: a run through the first pod copies, deletes and flags nothing.
    said = near.sync(1)
    assert [line for line in said.splitlines() if line.startswith(("Copy", "Delet", "Add", "Creat"))] == []
    assert "UID validity" not in said


def test_resync_after_a_pause(offlineimap: str, live_stack: LiveStack, tmp_path: Path) -> None:
    """What another client did meanwhile through the other pod."""
    account = live_stack.account()
    near, far = Offlineimap(offlineimap, tmp_path, live_stack, account), Server(live_stack, account)
    for subject in ("one", "two"):
        far.append("INBOX", subject)
    near.sync(1)

    far.change("INBOX", "two", r"(\Flagged)")
    far.append("INBOX", "three")
    far.expunge("INBOX", "one")
    far.create("Play")
    far.append("Play", "plan")
    near.sync(1)

    assert near.messages("INBOX").keys() == {"two", "three"}
    assert near.messages("INBOX")["two"].name.endswith(":2,F")
    assert near.messages("Play").keys() == {"plan"}


def test_a_folder_that_was_made_again_is_noticed(offlineimap: str, live_stack: LiveStack, tmp_path: Path) -> None:
    """UIDs of a name's former life mean nothing: UIDVALIDITY tells, and offlineimap touches nothing. It neither renames
    nor deletes folders, so the old name is made again and its new UIDVALIDITY reported."""
    account = live_stack.account()
    near, far = Offlineimap(offlineimap, tmp_path, live_stack, account), Server(live_stack, account)
    far.create("Work")
    far.append("Work", "plan")
    near.sync(1)
    far.rename("Work", "Play")
    assert "UID validity problem for folder Work" in near.sync(2, status=2)
    assert near.messages("Play").keys() == near.messages("Work").keys() == {"plan"}


def test_thirty_megabytes_up_and_down(offlineimap: str, live_stack: LiveStack, tmp_path: Path) -> None:
    """Up from one device, down to another: every byte, but for the line ends and the header field that it adds."""
    account = live_stack.account()
    content = large("offlineimap").replace(b"\r\n", b"\n")
    one, other = (Offlineimap(offlineimap, tmp_path / name, live_stack, account) for name in ("laptop", "phone"))
    one.sync(1)
    (one.root / "INBOX" / "new" / "large.local").write_bytes(content)
    one.sync(2)
    other.sync(1)
    assert other.messages("INBOX")["offlineimap"].read_bytes() == content
