"""`mailboatctl import` and `export` as they are really started, on the real stack: killed with -9 in the middle, run again,
and every message is there once, with its bytes, flags and date.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.stack import DOMAIN, Account, Live

pytestmark = pytest.mark.stack
PROGRAM = Path(sys.executable).parent / "mailboatctl"
MANY = 1500


class Mover:
    """The command line of one test, with a token that may read mail and a state directory of its own."""

    def __init__(self, live: Live, directory: Path) -> None:
        self.live = live
        self.state = directory / "state"
        asked = {"name": "moving", "scopes": [f"domain:{DOMAIN}", "read-mail"]}
        token = live.whole.rest("POST", "/v1/tokens", asked)["token"]
        live.whole.secrets.add(token)
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "XDG_STATE_HOME": str(self.state)}
        self.environment |= {"MB_API_URL": live.stack.api_url, "MB_API_TOKEN": token}

    async def start(self, *arguments: str, **environment: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            str(PROGRAM),
            *arguments,
            "--json",
            env=self.environment | environment,
            cwd=self.live.stack.layout.run,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def run(self, *arguments: str, status: int = 0, **environment: str) -> dict[str, Any]:
        """A whole run, and the JSON it printed."""
        process = await self.start(*arguments, **environment)
        out, err = await asyncio.wait_for(process.communicate(), 300)
        assert "Traceback" not in err.decode(), err.decode()
        assert process.returncode == status, err.decode() + out.decode()
        answer: dict[str, Any] = json.loads(out)
        return answer

    async def killed(self, *arguments: str, after: int, **environment: str) -> None:
        """A run that is killed once this many batches are done."""
        process = await self.start(*arguments, **environment)
        async with asyncio.timeout(120):
            while self._done() < after:
                assert process.returncode is None, await process.communicate()
                await asyncio.sleep(0.005)
        process.kill()
        await process.wait()

    def _done(self) -> int:
        return sum(path.read_bytes().count(b'{"sent"') for path in self.state.glob("mailboatctl/imports/*.jsonl"))

    async def messages(self, account: Account, mailbox: str) -> list[dict[str, Any]]:
        """All messages of a mailbox, oldest first."""
        path = f"/v1/accounts/{account.address}/mailboxes/{quote(mailbox, safe='')}/messages?order=oldest&limit=200"
        token, found = self.environment["MB_API_TOKEN"], []
        cursor: str | None = ""
        while cursor is not None:
            more = f"&cursor={cursor}" if cursor else ""
            page = await asyncio.to_thread(self.live.whole.rest, "GET", path + more, token=token)
            found += page["items"]
            cursor = page["next"]
        return found


@pytest.fixture
def mover(live: Live, tmp_path: Path) -> Mover:
    return Mover(live, tmp_path)


def put(path: Path, name: str, content: bytes, at: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    for part in ("cur", "new", "tmp"):
        (path.parent / part).mkdir(exist_ok=True)
    path = path.parent / path.name / name
    path.write_bytes(content)
    os.utime(path, (at, at))


def text(number: int, size: int = 300) -> bytes:
    head = f"From: a@example.org\nSubject: n{number}\nMessage-ID: <n{number}@example.org>\n\n".encode()
    return head + (b"line of text\n" * (size // 13))


def many(root: Path) -> None:
    """INBOX with MANY messages, a few of them large."""
    for number in range(MANY):
        size = 150_000 if number % 300 == 7 else 300
        flags = "SF" if number % 3 == 0 else ("S" if number % 3 == 1 else "")
        put(
            root / "cur",
            f"{1_700_000_000 + number}.n{number}.host:2,{flags}",
            text(number, size),
            1_700_000_000.25 + number,
        )


def tree(root: Path) -> dict[str, list[tuple[bytes, str, int, tuple[str, ...]]]]:
    """What a Maildir++ tree holds: directory → (content, system flags, date in ms, keywords) of each file."""
    found: dict[str, list[tuple[bytes, str, int, tuple[str, ...]]]] = {}
    for cur in sorted(root.rglob("cur")):
        keywords: dict[str, str] = {}
        if (cur.parent / "dovecot-keywords").exists():
            for line in (cur.parent / "dovecot-keywords").read_text().splitlines():
                number, _, name = line.partition(" ")
                keywords[chr(97 + int(number))] = name
        rows = []
        for path in [*cur.iterdir(), *(cur.parent / "new").iterdir()]:
            info = path.name.rpartition(":2,")[2] if ":2," in path.name else ""
            flags = "".join(sorted(char for char in info if char.isupper()))
            words = tuple(sorted(keywords[char] for char in info if char.islower()))
            rows.append((path.read_bytes(), flags, path.stat().st_mtime_ns // 1_000_000, words))
        found[cur.parent.relative_to(root).as_posix()] = sorted(rows)
    return found


async def test_a_killed_import_goes_on_and_no_message_is_there_twice(live: Live, mover: Mover, tmp_path: Path) -> None:
    alice = live.account()
    many(tmp_path / "m")
    command = ("import", "maildir", alice.address, str(tmp_path / "m"))
    await mover.killed(*command, after=2)
    await mover.killed(*command, after=6)
    before = len(await mover.messages(alice, "INBOX"))
    assert 0 < before < MANY
    report = await mover.run(*command)
    assert report["counts"]["imported"] + report["counts"]["already"] == MANY
    assert report["counts"]["already"] >= 6 * 32
    found = await mover.messages(alice, "INBOX")
    assert [item["subject"] for item in found] == [f"n{number}" for number in range(MANY)]
    assert [item["internal_date"] for item in found] == [1_700_000_000_250 + number * 1000 for number in range(MANY)]
    assert Counter(tuple(sorted(item["flags"])) for item in found) == {
        ("\\Flagged", "\\Seen"): 500,
        ("\\Seen",): 500,
        (): 500,
    }
    again = await mover.run(*command)
    assert (again["counts"].get("imported", 0), again["counts"]["already"]) == (0, MANY)


async def test_without_its_state_an_import_still_brings_nothing_twice_on_the_same_day(
    live: Live, mover: Mover, tmp_path: Path
) -> None:
    alice = live.account()
    for number in range(200):
        put(tmp_path / "m" / "cur", f"{number}.x:2,S", text(number), 1000 + number)
    command = ("import", "maildir", alice.address, str(tmp_path / "m"))
    await mover.run(*command, "--state", str(tmp_path / "one"))
    await mover.run(*command, "--state", str(tmp_path / "two"))
    assert len(await mover.messages(alice, "INBOX")) == 200


async def test_what_goes_in_comes_out_as_it_was(live: Live, mover: Mover, tmp_path: Path) -> None:
    alice, root = live.account(), tmp_path / "m"
    put(root / "cur", "100.a:2,FRSab", text(1), 100.5)
    put(root / "cur", "101.b:2,", text(2, 200_000), 101.125)
    put(
        root / "new",
        "102.c",
        b"Subject: =?utf-8?q?=C3=BC?=\nContent-Type: text/plain; charset=utf-8\n\nGr\xc3\xbc\xc3\x9fe\n",
        102,
    )
    put(root / "cur", "103.d:2,PT", b"no header\n\n\xff\xfe raw \x80\n", 103)
    (root / "dovecot-keywords").write_text("0 $Label1\n1 work\n")
    for name in (".Sent", ".Work.2026", ".Entw&APw-rfe", ".a&AC4-b", ".INBOX.Sub"):
        put(root / name / "cur", "1.x:2,S", text(3), 2000)
    (root / "subscriptions").write_text("Sent\nWork.2026\nINBOX\n")
    report = await mover.run("import", "maildir", alice.address, str(root))
    assert report["counts"]["imported"] == 9
    client = await live.imap(2, alice, "INBOX")
    assert await client.ok("NOOP") is not None
    out = tmp_path / "out"
    exported = await mover.run("export", "maildir", alice.address, str(out))
    assert exported["counts"]["exported"] == 9
    given, taken = tree(root), tree(out)
    assert {name: rows for name, rows in taken.items() if rows} == given | {
        ".": sorted(
            (data, flags, date, words + (("$Forwarded",) if "P" in flags else ()))
            for data, flags, date, words in given["."]
        )
    }
    subscribed = set((out / "subscriptions").read_text().splitlines())
    assert {"INBOX", "Sent", "Work.2026"} <= subscribed
    assert "Entw&APw-rfe" not in subscribed
    again = await mover.run("export", "maildir", alice.address, str(out))
    assert (again["counts"]["already"], again["counts"].get("exported", 0)) == (9, 0)
    bob = live.account()
    await mover.run("import", "maildir", bob.address, str(out))
    back = tmp_path / "back"
    await mover.run("export", "maildir", bob.address, str(back))
    assert tree(back) == taken


async def test_an_export_follows_what_changes(live: Live, mover: Mover, tmp_path: Path) -> None:
    alice, out = live.account(), tmp_path / "out"
    for number in range(3):
        put(tmp_path / "m" / "cur", f"{number}.x:2,", text(number), 1000 + number)
    await mover.run("import", "maildir", alice.address, str(tmp_path / "m"))
    await mover.run("export", "maildir", alice.address, str(out))
    client = await live.imap(1, alice, "INBOX")
    await client.ok("STORE 1 +FLAGS (\\Seen later)")
    await client.ok("STORE 3 +FLAGS (\\Deleted)")
    await client.ok("EXPUNGE")
    changed = await mover.run("export", "maildir", alice.address, str(out))
    assert (changed["counts"]["changed"], changed["counts"]["already"]) == (1, 1)
    assert len(tree(out)["."]) == 3
    assert (await mover.run("export", "maildir", alice.address, str(out), "--delete"))["counts"]["removed"] == 1
    assert [(row[1], row[3]) for row in tree(out)["."]] == [("S", ("later",)), ("", ())]


async def test_another_server_is_read_over_imap_and_only_what_is_new_the_second_time(
    live: Live, mover: Mover, tmp_path: Path
) -> None:
    old, new = live.account(), live.account()
    many(tmp_path / "m")
    put(tmp_path / "m" / ".Entw&APw-rfe.a&AC4-b" / "cur", "1.x:2,S", text(1), 1000)
    put(tmp_path / "m" / ".Sent" / "cur", "1.x:2,RS", text(2), 2000)
    await mover.run("import", "maildir", old.address, str(tmp_path / "m"))
    client = await live.imap(1, old, "INBOX")
    await client.ok("STORE 2 +FLAGS ($Label1)")
    await client.ok("STORE 1 +FLAGS (\\Deleted)")
    await client.ok("EXPUNGE")
    password = tmp_path / "password"
    password.write_text(old.password + "\n")
    host = f"localhost:{live.port('imap_gateway', 'imaps')}"
    options = ("--user", old.address, "--password-file", str(password), "--ca-file", str(live.stack.layout.ca))
    command = ("import", "imap", new.address, host, *options)
    for path in mover.state.rglob("*.jsonl"):
        path.unlink()
    await mover.killed(*command, after=8)
    report = await mover.run(*command)
    assert report["failures"] == report["folders_lost"] == []
    rows = [
        [
            (m["subject"], m["flags"], m["internal_date"] // 1000, m["size"])
            for m in await mover.messages(account, "INBOX")
        ]
        for account in (old, new)
    ]
    assert rows[0] == rows[1]
    assert len(rows[0]) == MANY - 1
    assert [item["subject"] for item in await mover.messages(new, "Entwürfe/a.b")] == ["n1"]
    assert [item["flags"] for item in await mover.messages(new, "Sent")] == [["\\Seen", "\\Answered"]]
    await live.deliver(old, b"From: <carol@elsewhere.example>\r\nSubject: late\r\n\r\nx\r\n")
    second = await mover.run(*command)
    assert second["counts"]["imported"] == 1
    third = await mover.run(*command, "--dry-run")
    assert third["counts"].get("imported", 0) == 0


async def test_quota_and_bad_messages_are_told_and_the_rest_is_imported(
    live: Live, mover: Mover, tmp_path: Path
) -> None:
    alice, root = live.account(), tmp_path / "m"
    put(root / "cur", "1.empty:2,", b"", 1)
    put(root / "cur", "2.nul:2,", b"Subject: nul\n\na\0b\r\n", 2)
    (root / "cur" / "3.link:2,").symlink_to("/etc/hostname")
    put(root / "cur", "4.good:2,", text(4), 4)
    report = await mover.run("import", "maildir", alice.address, str(root), status=1)
    assert (report["counts"]["imported"], report["counts"]["failed"]) == (2, 2)
    assert {item["message"] for item in report["failures"]} == {"1.empty", "3.link"}
    assert [item["message"] for item in report["notes"]] == ["2.nul"]
    await asyncio.to_thread(live.whole.rest, "PATCH", f"/v1/accounts/{alice.address}", {"quota_bytes": 2000})
    for number in range(10, 30):
        put(root / "cur", f"{number}.x:2,", text(number), number)
    full = await mover.run("import", "maildir", alice.address, str(root), status=1)
    assert 0 < full["counts"]["imported"] < 20
    await asyncio.to_thread(live.whole.rest, "PATCH", f"/v1/accounts/{alice.address}", {"quota_bytes": 0})
    last = await mover.run("import", "maildir", alice.address, str(root), status=1)
    assert last["counts"]["imported"] + full["counts"]["imported"] == 20


async def test_a_password_is_never_an_argument_and_a_stranger_is_told_so(
    live: Live, mover: Mover, tmp_path: Path
) -> None:
    alice = live.account()
    host = f"localhost:{live.port('imap_gateway', 'imaps')}"
    for arguments, environment, status in (
        (("--ca-file", str(live.stack.layout.ca)), {}, 2),
        (("--ca-file", str(live.stack.layout.ca)), {"MB_IMPORT_PASSWORD": "wrong"}, 1),
        ((), {"MB_IMPORT_PASSWORD": alice.password}, 1),
        (("--tls", "none"), {"MB_IMPORT_PASSWORD": alice.password}, 3),
    ):
        port = "localhost:1" if status == 3 else host
        process = await mover.start("import", "imap", alice.address, port, *arguments, **environment)
        _, err = await process.communicate()
        assert (process.returncode, b"Traceback" in err) == (status, False), err.decode()
        assert alice.password.encode() not in err
