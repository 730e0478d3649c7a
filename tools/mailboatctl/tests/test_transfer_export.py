"""What an export writes, and what it never writes over or through."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from mailboatctl.errors import ApiRefused, Unreachable, WrongUse
from mailboatctl.transfer.api import AccountApi, _parsed
from mailboatctl.transfer.maildir_out import Exporter
from mailboatctl.transfer.report import Report

ID = "1vjrg9gsmwgr2yj6zc38mvxq54"


@dataclass(slots=True)
class Account:
    """Mailbox → UID → (flags, content)."""

    boxes: dict[str, dict[int, tuple[list[str], bytes]]]
    gone: set[int] = field(default_factory=set)
    asked: list[int] = field(default_factory=list)

    def messages(self, name: str) -> Iterator[dict[str, Any]]:
        if name not in self.boxes:
            raise ApiRefused(404, "No such mailbox.")
        for uid, (flags, _) in self.boxes[name].items():
            yield {"id": f"{ID}.{uid}", "uid": uid, "flags": flags, "internal_date": uid * 1000 + 250}

    def contents(self, name: str, uids: list[int]) -> Iterator[tuple[int, bytes]]:
        self.asked += uids
        for uid in uids:
            if uid not in self.gone:
                yield uid, self.boxes[name][uid][1]


def run(account: Account, root: Path, *names: str, **more: Any) -> Report:
    report = Report()
    mailboxes = [{"name": name, "subscribed": True} for name in names or account.boxes]
    Exporter(cast(AccountApi, account), root, report, **more).run(mailboxes)
    return report


def files(root: Path, box: str = ".") -> list[str]:
    return sorted(path.name for path in (root / box / "cur").iterdir())


def test_names_flags_dates_and_bytes(tmp_path: Path) -> None:
    inbox = {1: (["\\Seen", "$Forwarded", "work"], b"A: b\r\n\r\nc\rd\r\n"), 2: ([], b"x")}
    account = Account({"INBOX": inbox, "Work/2026": {7: (["\\Deleted", "\\Draft", "\\Flagged"], b"y\r\n")}})
    assert run(account, tmp_path).counts["exported"] == 3
    assert files(tmp_path) == [f"1.{ID}_1.mailboat,S=10:2,PSab", f"2.{ID}_2.mailboat,S=1:2,"]
    assert files(tmp_path, ".Work.2026") == [f"7.{ID}_7.mailboat,S=2:2,DFT"]
    first = tmp_path / "cur" / files(tmp_path)[0]
    assert first.read_bytes() == b"A: b\n\nc\rd\n"
    assert (first.stat().st_mtime_ns, first.stat().st_mode & 0o077) == (1_250_000_000, 0)
    assert (tmp_path / "dovecot-keywords").read_text() == "0 $Forwarded\n1 work\n"
    assert (tmp_path / "subscriptions").read_text() == "INBOX\nWork.2026\n"
    assert (tmp_path / ".Work.2026" / "maildirfolder").exists()
    assert not list(tmp_path.rglob("tmp/*"))
    crlf = tmp_path / "crlf"
    run(account, crlf, crlf=True)
    assert (crlf / "cur" / files(crlf)[0]).read_bytes() == b"A: b\r\n\r\nc\rd\r\n"


def test_a_repeat_writes_what_is_new_and_leaves_what_is_not_ours(tmp_path: Path) -> None:
    account = Account({"INBOX": {uid: (["work"], b"x\r\n") for uid in range(1, 200)}})
    run(account, tmp_path)
    other = tmp_path / "cur" / "1.other.host:2,S"
    other.write_text("mine")
    account.boxes["INBOX"] |= {3: (["\\Seen", "late", "work"], b"x\r\n"), 300: ([], b"new\r\n")}
    del account.boxes["INBOX"][5]
    account.asked.clear()
    report = run(account, tmp_path)
    assert (report.counts["exported"], report.counts["changed"], report.counts["already"]) == (1, 1, 197)
    assert account.asked == [300]
    assert f"3.{ID}_3.mailboat,S=2:2,Sab" in files(tmp_path)
    assert f"5.{ID}_5.mailboat,S=2:2,a" in files(tmp_path)
    assert run(account, tmp_path, remove=True).counts["removed"] == 1
    assert other.read_text() == "mine"
    assert len(files(tmp_path)) == 200


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    flags = [f"k{number}" for number in range(30)]
    account = Account({"INBOX": {1: (flags, b"x"), 2: ([], b"y")}}, gone={2})
    report = run(account, tmp_path, "INBOX", "Gone")
    assert len(report.notes) == 4
    assert [entry["message"] for entry in report.failures] == [f"2.{ID}_2.mailboat"]
    assert report.folders == [{"folder": "Gone", "why": "No such mailbox."}]
    assert not report.complete


@pytest.mark.parametrize("name", ["../../etc", "..", "a/../../b", ".hidden", "x" * 900, "cur", "INBOX/../.."])
def test_a_hostile_name_stays_in_the_tree(tmp_path: Path, name: str) -> None:
    root = tmp_path / "in" / "here"
    run(Account({name: {1: ([], b"x")}}), root)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["here"]
    assert len(list(root.glob(".*/cur/*"))) == 1


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.mkdir()
    root.mkdir()
    (root / ".Work").symlink_to(outside)
    with pytest.raises(WrongUse, match="symbolic link"):
        run(Account({"Work": {1: ([], b"x")}}), root)
    (root / "cur").mkdir()
    (root / "tmp").symlink_to(outside)
    with pytest.raises(WrongUse, match="symbolic link"):
        run(Account({"INBOX": {1: ([], b"x")}}), root)
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("body", [b"x", b"{}\n", b"[]\n", b'{"uid": 1}\n', b'{"uid": "a", "size": 1}\n'])
def test_an_answer_that_is_none(body: bytes) -> None:
    with pytest.raises(Unreachable):
        list(_parsed(body))


def test_an_answer_that_ends_early_is_asked_for_again() -> None:
    asked: list[str] = []

    class Client:
        def raw(self, path: str) -> bytes:
            asked.append(path.rpartition("=")[2])
            uids = [uid for uid in map(int, asked[-1].split(",")) if uid != 4]
            return b"".join(b'{"uid": %d, "size": 1}\nx' % uid for uid in uids[:2])

    api = AccountApi(cast(Any, Client()), "a@b", lambda seconds: None)
    assert [uid for uid, _ in api.contents("INBOX", [1, 2, 3, 4, 5, 6])] == [1, 2, 3, 5, 6]
    assert asked == ["1,2,3,4,5,6", "3,4,5,6", "6"]
    assert list(api.contents("INBOX", [4])) == []
