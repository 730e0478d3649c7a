"""The import itself, against an API in memory that may refuse, fail, or be lost at any moment."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from mailboatctl.errors import ApiRefused, CommandError, Unreachable, WrongUse
from mailboatctl.transfer.api import AccountApi, Upload
from mailboatctl.transfer.importer import FRESH_MS, Importer, Options
from mailboatctl.transfer.journal import Entry, Journal, default_path
from mailboatctl.transfer.report import Report
from mailboatctl.transfer.source import Folder, FolderLost, Item, Known, Unreadable

ADDRESS = "alice@example.org"
DAY = 24 * 3600 * 1000


class Killed(BaseException):
    """The process has died here."""


@dataclass(slots=True)
class Account:
    """The API of one account. `keys` forgets nothing unless a test makes it."""

    boxes: dict[str, list[tuple[Upload, int]]] = field(default_factory=lambda: {"INBOX": [], "Gesendet": []})
    uses: dict[str, str] = field(default_factory=lambda: {"Gesendet": "\\Sent"})
    subscribed: dict[str, bool] = field(default_factory=lambda: {"INBOX": True, "Gesendet": True})
    keys: dict[str, int] = field(default_factory=dict)
    before: Callable[[list[Upload]], None] = lambda messages: None
    after: Callable[[list[Upload]], None] = lambda messages: None
    refuses: dict[bytes, str] = field(default_factory=dict)
    batches: list[int] = field(default_factory=list)
    read: int = 0
    may_read: bool = True

    def mailboxes(self) -> list[dict[str, Any]]:
        return [
            {"name": name, "special_use": self.uses.get(name), "subscribed": self.subscribed.get(name, False)}
            for name in self.boxes
        ]

    def create(self, name: str) -> None:
        self.boxes.setdefault(name, [])
        self.subscribed[name] = True

    def subscribe(self, name: str, subscribed: bool) -> None:
        self.subscribed[name] = subscribed

    def append(self, name: str, messages: list[Upload]) -> list[dict[str, Any]]:
        if name not in self.boxes:
            raise ApiRefused(404, "No such mailbox.")
        self.before(messages)
        self.batches.append(len(messages))
        results = [self._one(name, message) for message in messages]
        self.after(messages)
        return results

    def _one(self, name: str, message: Upload) -> dict[str, Any]:
        for text, code in self.refuses.items():
            if text in message.content:
                return {"result": "refused", "uid": None, "code": code, "error": f"Refused: {code}"}
        if message.key not in self.keys:
            self.keys[message.key] = len(self.boxes[name]) + 1
            self.boxes[name].append((message, len(self.boxes[name]) + 1))
        return {"result": "appended", "uid": self.keys[message.key], "code": None, "error": None}

    def messages(self, name: str) -> Iterator[dict[str, Any]]:
        if not self.may_read:
            raise ApiRefused(403, "The token lacks the scope read-mail.")
        for upload, uid in self.boxes[name]:
            yield {"id": f"{name}.{uid}", "uid": uid, "size": len(upload.content), "internal_date": upload.date}

    def raw(self, message: str) -> bytes:
        self.read += 1
        name, _, uid = message.rpartition(".")
        return next(upload.content for upload, number in self.boxes[name] if number == int(uid))

    def subjects(self, name: str = "INBOX") -> list[str]:
        return [upload.content.decode().strip() for upload, _ in self.boxes[name]]


@dataclass(slots=True)
class Memory:
    """A source in memory: folder → messages."""

    found: dict[Folder, list[Item]]
    lost_after: int | None = None
    identity: str = "memory"
    passed_over: list[str] = field(default_factory=list)

    def folders(self) -> list[Folder]:
        return list(self.found)

    def count(self, folder: Folder) -> int | None:
        return len(self.found[folder])

    def messages(self, folder: Folder, known: Known) -> Iterator[Item]:
        for number, item in enumerate(self.found[folder]):
            if number == self.lost_after:
                raise FolderLost("the disk is gone")
            if not known(item.id):
                yield item

    def close(self) -> None:
        """Nothing is open."""


def item(number: int, generation: str = "", *, date: int | None = 1000, flags: tuple[str, ...] = ()) -> Item:
    name = f"{generation}.{number}" if generation else str(number)
    return Item(name, flags, date, f"{number}\n".encode, generation)


INBOX = Folder(("INBOX",), "INBOX")


def inbox(count: int, **more: Any) -> Memory:
    return Memory({INBOX: [item(number) for number in range(count)]}, **more)


def run(source: Memory, account: Account, path: Path, now: int = DAY, **options: Any) -> Report:
    report = Report()
    with Journal(path / "state", "test") as journal:
        made = Options(ADDRESS, **{"concurrency": 2, **options})
        importer = Importer(source, cast(AccountApi, account), journal, made, report, now=lambda: now)
        importer.run(importer.plan())
    return report


def test_everything_is_imported_in_order_and_the_second_time_nothing(tmp_path: Path) -> None:
    account = Account()
    report = run(inbox(150), account, tmp_path)
    assert report.counts == {"imported": 150, "bytes": 640}
    assert account.subjects() == [str(number) for number in range(150)]
    assert account.batches == [64, 64, 22]
    again = run(inbox(151), account, tmp_path)
    assert (again.counts["already"], again.counts["imported"]) == (150, 1)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_an_import_that_dies_at_a_batch_goes_on_with_it(tmp_path: Path, moment: str) -> None:
    account, calls = Account(), []

    def die(messages: list[Upload]) -> None:
        calls.append(messages)
        if len(calls) == 2:
            raise Killed

    setattr(account, moment, die)
    with pytest.raises(Killed):
        run(inbox(150), account, tmp_path)
    report = run(inbox(150), account, tmp_path)
    assert account.subjects() == [str(number) for number in range(150)]
    assert (report.counts["already"], report.counts["imported"]) == (64, 86)
    with Journal(tmp_path / "state", "test") as journal:
        assert journal.doubts == []


@pytest.mark.parametrize("moment", ["before", "after"])
def test_what_was_in_doubt_for_longer_than_the_api_remembers_is_looked_for(tmp_path: Path, moment: str) -> None:
    account, calls = Account(), []

    def die(messages: list[Upload]) -> None:
        calls.append(messages)
        if len(calls) == 2:
            raise Killed

    setattr(account, moment, die)
    with pytest.raises(Killed):
        run(inbox(100), account, tmp_path)
    account.keys.clear()
    account.may_read = False
    late = DAY + FRESH_MS + 1
    with pytest.raises(CommandError, match="read-mail"):
        run(inbox(100), account, tmp_path, late)
    account.may_read = True
    run(inbox(100), account, tmp_path, late)
    assert account.subjects() == [str(number) for number in range(100)]
    assert account.read <= 36 * 37 / 2 + 36


def test_twins_in_doubt_are_told_apart_by_their_uids(tmp_path: Path) -> None:
    twins = Memory({INBOX: [Item(str(number), (), 1000, lambda: b"same\n") for number in range(130)]})
    account, calls = Account(), []

    def die(messages: list[Upload]) -> None:
        calls.append(messages)
        if len(calls) == 2:
            raise Killed

    account.after = die
    with pytest.raises(Killed):
        run(twins, account, tmp_path)
    account.keys.clear()
    run(twins, account, tmp_path, DAY + FRESH_MS + 1)
    assert len(account.boxes["INBOX"]) == 130


def test_a_new_uidvalidity_brings_nothing_twice(tmp_path: Path) -> None:
    account = Account()
    run(Memory({INBOX: [item(number, "100") for number in range(10)]}), account, tmp_path)
    report = run(Memory({INBOX: [item(number, "200") for number in range(12)]}), account, tmp_path)
    assert (report.counts["already"], report.counts["imported"]) == (10, 2)
    third = run(Memory({INBOX: [item(number, "200") for number in range(12)]}), account, tmp_path)
    assert (third.counts["already"], third.counts["imported"]) == (12, 0)


def test_what_cannot_be_imported_is_told_and_passed_over(tmp_path: Path) -> None:
    def unreadable() -> bytes:
        raise Unreadable("it is gone")

    items = [
        item(1),
        Item("gone", (), 1, unreadable),
        Item("empty", (), 1, lambda: b""),
        Item("large", (), 1, lambda: b"x" * (51 << 20)),
        Item("limit", (), 1, lambda: b"limit\n"),
        Item("odd", ("a b", "\\Seen"), 1, lambda: b"odd\0\n"),
        item(2),
    ]
    account = Account(refuses={b"limit": "limit"})
    report = run(Memory({INBOX: items}), account, tmp_path)
    assert {entry["message"]: entry["why"] for entry in report.failures} == {
        "gone": "it is gone",
        "empty": "it is empty",
        "large": f"it has over 50 MB ({51 << 20} octets read)",
        "limit": "Refused: limit",
    }
    assert [entry["note"] for entry in report.notes] == [
        "1 NUL octets were replaced by 0x80",
        "without flags that IMAP can't have: a b",
    ]
    assert (report.counts["imported"], report.complete) == (3, False)
    account.refuses.clear()
    assert run(Memory({INBOX: items}), account, tmp_path).counts["imported"] == 1


def test_a_batch_that_is_refused_as_a_whole_is_sent_one_by_one(tmp_path: Path) -> None:
    account = Account()

    def refuse(messages: list[Upload]) -> None:
        if any(message.content == b"7\r\n" for message in messages):
            raise ApiRefused(422, "Not so.")

    account.before = refuse
    report = run(inbox(10), account, tmp_path)
    assert (report.counts["imported"], [entry["message"] for entry in report.failures]) == (9, ["7"])


def test_no_room_ends_the_import_and_with_room_it_goes_on(tmp_path: Path) -> None:
    account = Account(refuses={b"70": "over_quota"})
    with pytest.raises(CommandError, match="make room"):
        run(inbox(200), account, tmp_path)
    assert len(account.batches) == 2
    account.refuses.clear()
    assert run(inbox(200), account, tmp_path).counts["imported"] == 200 - 127
    assert len(account.boxes["INBOX"]) == 200


@pytest.mark.parametrize(("error", "ends"), [(ApiRefused(403, "No."), True), (Unreachable("Away."), True)])
def test_what_nothing_can_succeed_after_ends_it(tmp_path: Path, error: CommandError, ends: bool) -> None:
    account = Account()

    def fail(messages: list[Upload]) -> None:
        raise error

    account.before = fail
    with pytest.raises(type(error)):
        run(inbox(10), account, tmp_path)


def test_a_folder_that_is_lost_does_not_take_others_along(tmp_path: Path) -> None:
    work = Folder(("Work",), "Work")
    source = Memory({INBOX: [item(n) for n in range(5)], work: [item(n) for n in range(3)]}, lost_after=3)
    account = Account()
    report = run(source, account, tmp_path)
    assert (len(account.boxes["INBOX"]), len(account.boxes["Work"])) == (3, 3)
    assert report.folders == [{"folder": "INBOX", "why": "the disk is gone"}]
    assert not report.complete


def test_where_folders_go(tmp_path: Path) -> None:
    folders = [
        INBOX,
        Folder(("Sent Items",), "s", "\\Sent"),
        Folder(("All Mail",), "a", "\\All"),
        Folder(("Work", "a/b"), "w", None, False),
        Folder(("Lists", "x"), "l", None, True),
        Folder(("Old",), "o"),
    ]
    account = Account(subscribed={"INBOX": False, "Gesendet": True})
    source = Memory({folder: [item(1)] for folder in folders})
    run(source, account, tmp_path, exclude=("O*",))
    assert {name for name, rows in account.boxes.items() if rows} == {"INBOX", "Gesendet", "Work/a_b", "Lists/x"}
    assert account.subscribed == {"INBOX": False, "Gesendet": True, "Work/a_b": False, "Lists/x": True}
    assert source.passed_over == ["All Mail shows messages of other folders (\\All)"]
    account = Account()
    (tmp_path / "two").mkdir()
    run(source, account, tmp_path / "two", folders=("All*", "Sent*"), special_uses=False)
    assert {name for name, rows in account.boxes.items() if rows} == {"All Mail", "Sent Items"}


def test_what_is_left_out(tmp_path: Path) -> None:
    items = [item(1, date=10), item(2, date=20), item(3, date=None), item(4, date=30, flags=("\\Deleted",))]
    account = Account()
    report = run(Memory({INBOX: items}), account, tmp_path, since=15, deleted=False)
    assert (account.subjects(), report.counts["skipped"]) == (["2", "3"], 2)
    dated = Item("5", (), 10, lambda: b"Date: Thu, 1 Jan 1970 00:00:09 +0000\n\n")
    account = Account()
    (tmp_path / "two").mkdir()
    run(Memory({INBOX: [dated]}), account, tmp_path / "two", since=5000, header_dates=True)
    assert [upload.date for upload, _ in account.boxes["INBOX"]] == [9000]


def test_a_dry_run_sends_nothing(tmp_path: Path) -> None:
    account = Account()
    report = run(Memory({INBOX: [item(1)], Folder(("Work",), "w"): [item(2)]}), account, tmp_path, dry_run=True)
    assert report.counts["imported"] == 2
    assert (account.batches, list(account.boxes)) == ([], ["INBOX", "Gesendet"])
    assert run(inbox(2), account, tmp_path).counts["imported"] == 2


def test_large_messages_make_batches_of_their_own(tmp_path: Path) -> None:
    sizes = [10, 5 << 20, 10, 2 << 20, 2 << 20, 10]
    items = [Item(str(n), (), 1, lambda size=size: b"x" * size) for n, size in enumerate(sizes)]  # type: ignore[misc]
    account = Account()
    run(Memory({INBOX: items}), account, tmp_path)
    assert account.batches == [1, 1, 2, 2]
    assert [len(upload.content) for upload, _ in account.boxes["INBOX"]] == sizes


def test_the_journal_survives_what_a_crash_leaves(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "state"
    entries = [Entry("1.\udcff", 10, None, "aa"), Entry("2", 11, 5, "bb")]
    with Journal(path, "me") as journal:
        number = journal.sending("F", "Work", 7, entries)
        journal.sent(number, [4, None])
        journal.sending("F", "Work", 8, entries[1:])
        with pytest.raises(WrongUse, match="Another import"):
            Journal(path, "me")
    whole = path.read_bytes()
    for end in range(len(whole) + 1):
        path.write_bytes(whole[:end])
        with Journal(path, "me") as journal:
            assert journal.count("F") in (0, 1)
    path.write_bytes(whole + b'{"sent":2,"ui')
    with Journal(path, "me") as journal:
        assert (journal.has("F", "1.\udcff"), journal.has("F", "2"), journal.uids("F")) == (True, False, {4})
        assert [doubt.entries for doubt in journal.doubts] == [(entries[1],)]
        assert journal.sending("F", "Work", 9, []) == 3
    with pytest.raises(WrongUse, match="another import"):
        Journal(path, "you")
    for nonsense in (b"hello\n", b"[]\n", b'{"journal":2,"import":"me"}\n', whole + b'{"x":1}\n'):
        path.write_bytes(nonsense)
        with pytest.raises(WrongUse):
            Journal(path, "me")
    assert path.stat().st_mode & 0o077 == 0


def test_where_the_state_is(tmp_path: Path) -> None:
    one = default_path({"XDG_STATE_HOME": str(tmp_path)}, "a")
    assert one.parent == tmp_path / "mailboatctl" / "imports"
    assert one != default_path({"XDG_STATE_HOME": str(tmp_path)}, "b")
    assert default_path({}, "a").is_relative_to(Path.home())


def test_an_api_that_is_away_for_a_while_is_waited_for() -> None:
    class Client:
        def __init__(self) -> None:
            self.left = 5

        def send(self, method: str, path: str, body: bytes, media_type: str) -> dict[str, Any]:
            self.left -= 1
            if self.left:
                raise Unreachable("Away.")
            digest = hashlib.sha256(body).hexdigest()
            return {"results": [{"path": path, "digest": digest, "media_type": media_type, "method": method}]}

    pauses: list[float] = []
    api = AccountApi(cast(Any, Client()), "a@b", pauses.append)
    upload = Upload("k" * 64, b"A: b\r\n\r\n", ("\\Seen",), None)
    (result,) = api.append("Work/ü", [upload])
    assert result["path"] == "/v1/accounts/a@b/mailboxes/Work%2F%C3%BC/messages:batch"
    line, _, rest = upload.framed().partition(b"\n")
    assert (rest, b'"flags":["\\\\Seen"]' in line) == (upload.content, True)
    assert pauses == [0.5, 1.0, 2.0, 4.0]
    client = Client()
    client.left = 100
    with pytest.raises(Unreachable):
        AccountApi(cast(Any, client), "a@b", pauses.append).append("x", [upload])
