"""What an import reads: names, line ends, flags, odd Maildirs, mbox files of every dialect, hostile ones too."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from mailboatctl.errors import WrongUse
from mailboatctl.transfer import content, flags, mbox, names
from mailboatctl.transfer.maildir import Maildir
from mailboatctl.transfer.mbox import Mbox
from mailboatctl.transfer.source import Item, Source, Unreadable

NAMES = (
    ("INBOX", "INBOX"),
    ("Entw&APw-rfe", "Entwürfe"),
    ("~peter/mail/&U,BTFw-/&ZeVnLIqe-", "~peter/mail/台北/日本語"),
    ("Q&-A", "Q&A"),
    ("&2D3eAA-", "😀"),
    ("a&AC4-b", "a.b"),
)


@pytest.mark.parametrize(("encoded", "decoded"), NAMES)
def test_names_in_modified_utf7(encoded: str, decoded: str) -> None:
    assert names.decode_utf7(encoded) == decoded
    assert names.decode_utf7(names.encode_utf7(decoded)) == decoded
    assert names.decode_utf7(names.encode_utf7(decoded, also="./\\")) == decoded


@pytest.mark.parametrize("text", ["Entwürfe", "a & b", "&", "&!-", "&AAAA!-", "&2D0-"])
def test_names_that_are_no_utf7_stay(text: str) -> None:
    assert names.decode_utf7(text) == text


def test_names_that_the_platform_refuses_are_changed_as_little_as_needed() -> None:
    assert names.legal(("inbox", "a/b", "c\r\n", "\ud800")) == "INBOX/a_b/c__/_"
    assert names.legal(()) == names.legal(("",)) == "_"
    long = names.legal(("ü" * 600, "x"))
    assert len(long.encode()) <= names.MAX_NAME_BYTES
    assert long != names.legal(("ü" * 600, "y"))
    assert names.legal(tuple("abc" * 20)).count("/") == names.MAX_DEPTH - 1


@pytest.mark.parametrize(
    "name",
    [
        "..",
        "../../etc/cron.d",
        ".",
        "a/../../b",
        "\\..\\x",
        "a.b",
        "CON",
        "x" * 900,
        "日" * 300,
        "new",
        "cur/tmp",
        "~root",
    ],
)
def test_a_directory_is_never_more_than_a_name(name: str) -> None:
    made = names.directory(name)
    assert made.startswith(".")
    assert made not in (".", "..")
    assert "/" not in made
    assert len(os.fsencode(made)) <= 255
    assert made.isascii()


@pytest.mark.parametrize(
    ("stored", "sent", "noted"),
    [
        (b"A: b\n\nc\n", b"A: b\r\n\r\nc\r\n", 0),
        (b"A: b\r\n\r\nc\r\n", b"A: b\r\n\r\nc\r\n", 0),
        (b"A: b\r\n\nc", b"A: b\r\n\r\nc", 0),
        (b"a\rb\n", b"a\rb\r\n", 1),
        (b"a\r\r\n", b"a\r\r\n", 1),
        (b"a\0b\0\n\r", b"a\x80b\x80\r\n\r", 2),
    ],
)
def test_line_ends_become_crlf_once(stored: bytes, sent: bytes, noted: int) -> None:
    found, notes = content.normalise(stored)
    assert (found, len(notes)) == (sent, noted)
    assert content.normalise(found)[0] == found


def test_compressed_messages() -> None:
    plain = b"Subject: x\n\n" + b"y" * 1000
    for packed in (gzip.compress(plain), bz2.compress(plain), lzma.compress(plain), plain):
        assert content.unpacked(packed) == plain
    for broken in (gzip.compress(plain)[:30], b"BZh91AY&SY....", lzma.compress(plain)[:40], b"\x28\xb5\x2f\xfd...."):
        with pytest.raises(Unreadable):
            content.unpacked(broken)
    with pytest.raises(Unreadable, match="over 50 MB"):
        content.unpacked(gzip.compress(b"\0" * (51 << 20)))


@pytest.mark.parametrize(
    ("header", "date"),
    [
        (
            b"Received: from a by b;\r\n Thu, 1 Jan 1970 00:00:01 +0000\r\nDate: Thu, 1 Jan 1970 00:00:09 +0000\r\n\r\n",
            1000,
        ),
        (b"Date: Thu, 1 Jan 1970 01:00:02 +0100\n\nReceived: x; Thu, 1 Jan 1970 00:00:01 +0000\n", 2000),
        (b"Received: no date\nDate: Thu, 1 Jan 1970 00:00:03 -0000\n\n", 3000),
        (b"Received: a; yesterday\nDate: soon\n\n", None),
        (b"Date: Thu, 99 Jan 99999 00:00:03 +9999\n\n", None),
        (b"", None),
    ],
)
def test_the_date_of_a_header(header: bytes, date: int | None) -> None:
    assert content.date_of(header) == date


def test_flags_that_the_api_takes() -> None:
    given = ["\\SEEN", "\\seen", "\\Recent", "$Label1", "$label1", "a b", "ü", "\\Odd", "x" * 65, "ok]", "fine[1"]
    assert flags.cleaned(given) == (("\\Seen", "$Label1", "fine[1"), ("a b", "ü", "\\Odd", "x" * 65, "ok]"))
    assert len(flags.cleaned(f"k{n}" for n in range(100))[0]) == flags.MAX_FLAGS


def maildir(path: Path) -> Path:
    for part in ("cur", "new", "tmp"):
        (path / part).mkdir(parents=True)
    return path


def put(path: Path, name: str, data: bytes = b"Subject: x\n\ny\n", at: float = 1000.5) -> None:
    (path / name).write_bytes(data)
    os.utime(path / name, (at, at))


def read(source: Source, known: Callable[[str], bool] = lambda name: False) -> dict[str, list[Item]]:
    return {folder.shown: list(source.messages(folder, known)) for folder in source.folders()}


def test_a_maildir_with_everything(tmp_path: Path) -> None:
    root = maildir(tmp_path / "m")
    put(root, "cur/300.a.host,S=12:2,FRSab")
    put(root, "cur/100.b:2,DTPz")
    put(root, "new/200.c")
    put(root, "new/400.d:2,S")
    put(root, "cur/.nfs00001")
    (root / "dovecot-keywords").write_text("0 $Label1\n1 work\n99 no\nx y\n2\n")
    for name in (".Sent Items", ".Work.2026", ".Entw&APw-rfe", ".Entwürfe2", ".INBOX.Sub"):
        maildir(root / name)
    (root / ".nomaildir").mkdir()
    (root / "subscriptions").write_text("Work.2026\nINBOX.Sent Items\nGone\nEntw&APw-rfe\n")
    source = Maildir(root)
    folders = {folder.shown: folder for folder in source.folders()}
    assert next(iter(folders)) == "INBOX"
    assert folders.keys() == {"INBOX", "Sent Items", "Work/2026", "Entwürfe", "Entwürfe2", "INBOX/Sub"}
    subscribed = {name for name, folder in folders.items() if folder.subscribed}
    assert subscribed == {"Work/2026", "Sent Items", "Entwürfe"}
    assert folders["Sent Items"].special_use == "\\Sent"
    inbox = read(source)["INBOX"]
    assert [(item.id, item.flags, item.date) for item in inbox] == [
        ("100.b", ("\\Draft", "\\Deleted", "$Forwarded"), 1_000_500),
        ("200.c", (), 1_000_500),
        ("300.a.host,S=12", ("\\Flagged", "\\Answered", "\\Seen", "$Label1", "work"), 1_000_500),
        ("400.d", (), 1_000_500),
    ]
    assert inbox[0].load() == b"Subject: x\n\ny\n"
    assert [item.id for item in read(source, lambda name: name != "200.c")["INBOX"]] == ["200.c"]
    assert source.count(folders["INBOX"]) == 4


def test_the_order_of_a_maildir(tmp_path: Path) -> None:
    root = maildir(tmp_path / "m")
    for name in ("cur/9.M5P1.h:2,S", "cur/9.M10P1.h,S=3:2,", "cur/9.M200P1.h:2,", "new/8.M1P1.h", "new/10.x"):
        put(root, name)
    assert [item.id for item in read(Maildir(root))["INBOX"]] == [
        "8.M1P1.h",
        "9.M5P1.h",
        "9.M10P1.h,S=3",
        "9.M200P1.h",
        "10.x",
    ]
    (root / "dovecot-uidlist").write_text("3 V1 N9 Gabc\n4 :9.M200P1.h\n7 W5 :9.M10P1.h,S=3:2,\nx :y\n")
    assert [item.id for item in read(Maildir(root))["INBOX"]] == [
        "9.M200P1.h",
        "9.M10P1.h,S=3",
        "8.M1P1.h",
        "9.M5P1.h",
        "10.x",
    ]


def test_maildirs_of_other_layouts(tmp_path: Path) -> None:
    root = tmp_path / "fs"
    for name in ("", "Work", "Work/2026", "a.b"):
        maildir(root / name)
    (root / "subscriptions").write_text("V\t2\n\nWork\t2026\nINBOX\n")
    found = {folder.shown: folder.subscribed for folder in Maildir(root).folders()}
    assert found == {"INBOX": True, "Work": False, "Work/2026": True, "a.b": False}
    courier = maildir(tmp_path / "courier")
    maildir(courier / ".Lists.Python")
    (courier / "courierimapsubscribed").write_text("INBOX\nINBOX.Lists.Python\n")
    assert {f.shown: f.subscribed for f in Maildir(courier).folders()} == {"INBOX": True, "Lists/Python": True}
    only = tmp_path / "only"
    maildir(only / "INBOX")
    assert [folder.shown for folder in Maildir(only).folders()] == ["INBOX"]
    (tmp_path / "empty").mkdir()
    for nothing in (tmp_path / "empty", tmp_path / "missing"):
        with pytest.raises(WrongUse):
            Maildir(nothing).folders()


def test_a_maildir_of_somebody_hostile(tmp_path: Path) -> None:
    root, secret = maildir(tmp_path / "m"), tmp_path / "secret"
    secret.write_text("root:x")
    (root / "cur" / "1.link:2,").symlink_to(secret)
    os.mkfifo(root / "cur" / "2.fifo:2,")
    (root / "cur" / "3.dir:2,").mkdir()
    put(root, "cur/4.good:2,")
    put(root, "cur/5.bad\udcff:2,S")
    (root / "cur" / "6.big:2,").touch()
    os.truncate(root / "cur" / "6.big:2,", (50 << 20) + 1)
    (root / ".Escape").symlink_to(maildir(tmp_path / "other"))
    (root / "dovecot-keywords").symlink_to(secret)
    (root / "subscriptions").symlink_to(secret)
    source = Maildir(root)
    (inbox,) = read(source).values()
    assert [folder.shown for folder in source.folders()] == ["INBOX"]
    assert any("symbolic link" in text for text in source.passed_over)
    refused = {}
    for item in inbox:
        try:
            item.load()
        except Unreadable as error:
            refused[item.id.partition(".")[0]] = str(error)
    assert refused.keys() == {"1", "2", "3", "6"}
    assert refused["1"] == "it is a symbolic link"
    assert "regular" in refused["2"]


def test_a_file_that_is_renamed_while_it_is_read(tmp_path: Path) -> None:
    root = maildir(tmp_path / "m")
    put(root, "new/1.a", b"A: 1\n\n")
    put(root, "cur/2.b:2,", b"B: 1\n\n")
    first, second = read(Maildir(root))["INBOX"]
    (root / "new/1.a").rename(root / "cur/1.a:2,S")
    (root / "cur/2.b:2,").unlink()
    assert first.load() == b"A: 1\n\n"
    with pytest.raises(Unreadable):
        second.load()


FROM = b"From alice@example.org Thu Jan  1 00:00:%02d 1970\n"


def messages(data: bytes, dialect: str = "auto") -> list[tuple[bytes, tuple[str, ...], int | None]]:
    made = []
    for raw in mbox.split(io.BytesIO(data)):
        found = mbox.interpret(bytes(raw.data), raw.by_length, dialect)
        if found is not None:
            made.append((*found, raw.date))
    return made


def test_mbox_dialects() -> None:
    quoted = (
        FROM % 1 + b"Subject: a\n\n>From here\n>>From there\nFrom me to you\n\n" + FROM % 2 + b"Subject: b\n\nend\n"
    )
    for dialect, body in (
        ("auto", b"From here\n>From there\nFrom me to you\n"),
        ("mboxrd", b"From here\n>From there\nFrom me to you\n"),
        ("mboxo", b"From here\n>>From there\nFrom me to you\n"),
        ("mboxcl2", b">From here\n>>From there\nFrom me to you\n"),
    ):
        first, second = messages(quoted, dialect)
        assert first == (b"Subject: a\n\n" + body, (), 1000)
        assert second == (b"Subject: b\n\nend\n", (), 2000)


def test_mbox_with_lengths() -> None:
    body = b"text\n\n" + FROM % 9 + b"is text\n>From too\n\n"
    head = b"Subject: a\nContent-Length: %d\n\n" % len(body)
    data = FROM % 1 + head + body + b"\n" + FROM % 2 + b"Subject: b\nContent-Length: 4\n\nend\n"
    assert messages(data) == [(b"Subject: a\n\n" + body, (), 1000), (b"Subject: b\n\nend\n", (), 2000)]
    assert messages(data, "mboxcl")[0][0].endswith(b"\nFrom too\n\n")
    for wrong in (b"3", b"99999", b"-1", b"1e3", b""):
        data = FROM % 1 + b"Content-Length: " + wrong + b"\n\nlonger\n\n" + FROM % 2 + b"B: c\n\nx\n"
        assert [found[0] for found in messages(data)] == [b"\nlonger\n", b"B: c\n\nx\n"]


def test_mbox_flags_and_what_a_store_keeps_for_itself() -> None:
    internal = (
        FROM % 0
        + b"From: MAILER-DAEMON\nSubject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\nX-IMAP: 1 2 a\n\nx\n\n"
    )
    seen = (
        FROM % 1 + b"Status: RO\nX-Status: AFTD\nX-Keywords: $Label1   work,new\nX-UID: 7\nSubject: a\n folded\n\n1\n\n"
    )
    thunderbird = (
        FROM % 2 + b"X-Mozilla-Status: 1007\nX-Mozilla-Status2: 00000000\nX-Mozilla-Keys: $label2     \nA: b\n\n2\n\n"
    )
    expunged = FROM % 3 + b"X-Mozilla-Status: 0009\nA: b\n\n3\n\n"
    crlf = (FROM % 4 + b"Status: O\nA: b\n\n4\n\n").replace(b"\n", b"\r\n")
    found = messages(internal + seen + thunderbird + expunged + crlf)
    assert found == [
        (
            b"Subject: a\n folded\n\n1\n",
            ("\\Seen", "\\Answered", "\\Flagged", "\\Draft", "\\Deleted", "$Label1", "work", "new"),
            1000,
        ),
        (b"A: b\n\n2\n", ("\\Seen", "\\Answered", "\\Flagged", "$Forwarded", "$label2"), 2000),
        (b"A: b\r\n\r\n4\r\n", (), 4000),
    ]


@pytest.mark.parametrize(
    ("line", "date"),
    [
        (b"From a@b Thu Jan  1 00:00:01 1970\n", 1000),
        (b"From a@b Thu Jan  1 00:00:01 1970 +0000\n", 1000),
        (b"From a@b Thu Jan  1 01:00:01 +0100 1970\n", 1000),
        (b"From - Thu Jan 01 00:00:01 1970\r\n", 1000),
        (b"From a@b Thu, 1 Jan 1970 00:00:01 +0000\n", 1000),
        (b"From a b c Thu Jan  1 00:00 1970\n", 0),
        (b"From a@b Thu Jan 99 00:00:01 1970\n", None),
    ],
)
def test_from_lines(line: bytes, date: int | None) -> None:
    ((_, _, found),) = messages(line + b"A: b\n\nc\n")
    assert found == date


@pytest.mark.parametrize(
    "data",
    [b"", b"no mbox\n", b"From me\n", b"From \n\n", b"\0\0", b"From x Thu", b"From a@b.c today at 10:00 2020\n"],
)
def test_what_is_no_mbox(data: bytes, tmp_path: Path) -> None:
    assert messages(data) == []
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(WrongUse):
        Mbox(tmp_path / "x").folders()


@pytest.mark.parametrize(
    "data",
    [
        FROM % 1,
        FROM % 1 + FROM % 2,
        FROM % 1 + b"A: b",
        FROM % 1 + b"\n",
        FROM % 1 + b"\n\n\n",
        FROM % 1 + b"no header at all\n" + FROM % 2,
        FROM % 1 + b"A: " + b"x" * (3 << 20) + b"\n\nb\n",
        FROM % 1 + b"A: b\n\n" + b"y" * (3 << 20) + b"From a Thu Jan  1 00:00:01 1970\n",
    ],
)
def test_odd_mboxes_are_read_to_their_end(data: bytes) -> None:
    total = sum(len(found) for found, _, _ in messages(data))
    assert total <= len(data)
    assert len(messages(data)) == data.count(b"\nFrom alice") + 1


def test_a_tree_of_mboxes(tmp_path: Path) -> None:
    one = FROM % 1 + b"A: b\n\nx\n"
    for name in ("Inbox", "Sent", "Work.sbd/2026", "Work", "deep/er/Entw&APw-rfe", "Lists.mbox"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(one)
    (tmp_path / "Sent.msf").write_text("// index")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "Drafts").touch()
    (tmp_path / "link").symlink_to(tmp_path / "Sent")
    source = Mbox(tmp_path)
    found = read(source)
    assert list(found) == ["INBOX", "Lists", "Sent", "Work", "Work/2026", "deep/er/Entwürfe"]
    assert all(len(items) == 1 for items in found.values())
    assert len(source.passed_over) == 2
    single = Mbox(tmp_path / "Sent", into=("Old", "Sent"))
    assert [folder.shown for folder in single.folders()] == ["Old/Sent"]


def test_messages_of_an_mbox_are_known_again_when_flags_and_neighbours_change(tmp_path: Path) -> None:
    first, second = b"A: 1\n%s\nx\n\n", FROM % 2 + b"A: 2\n\ny\n\n"
    path = tmp_path / "m"
    path.write_bytes(FROM % 1 + first % b"" + second + second)
    before = [item.id for item in read(Mbox(path))["INBOX"]]
    path.write_bytes(second + FROM % 1 + first % b"Status: RO\n" + second + FROM % 3 + b"A: 3\n\nz\n")
    after = [item.id for item in read(Mbox(path))["INBOX"]]
    assert len(set(before)) == 3
    assert set(before) < set(after)
    assert len(after) == 4


def test_a_message_that_is_too_large_is_named_and_the_next_is_read(tmp_path: Path) -> None:
    path = tmp_path / "m"
    with path.open("wb") as file:
        file.write(FROM % 1 + b"A: 1\n\n")
        for _ in range(51):
            file.write(b"x" * ((1 << 20) - 1) + b"\n")
        file.write(b"\n" + FROM % 2 + b"A: 2\n\ny\n")
    large, small = read(Mbox(path))["INBOX"]
    assert small.load() == b"A: 2\n\ny\n"
    with pytest.raises(Unreadable, match="over 50 MB"):
        large.load()
