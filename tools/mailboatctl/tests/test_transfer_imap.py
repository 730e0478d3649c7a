"""IMAP servers as sources: what each of them is known to say, and connections that end."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mailboatctl.commands.import_mail import _host, _password
from mailboatctl.errors import CommandError, Unreachable, WrongUse
from mailboatctl.transfer.imap import ImapSource, Server
from mailboatctl.transfer.source import Folder, FolderLost, Unreadable

Answer = Callable[[bytes], bytes | None]
"""What is sent before the tagged OK; with a last line of b"NO ..." that instead; None: the connection ends."""

FETCHED = (
    b'* 1 FETCH (UID 3 FLAGS (\\Seen $Label1) INTERNALDATE " 1-Jan-1970 00:00:01 +0000" RFC822.SIZE 6)\r\n'
    b"* 7 FETCH (FLAGS (\\Seen))\r\n"
    b'* 2 FETCH (RFC822.SIZE 6 UID 9 INTERNALDATE "01-Jan-1970 01:00:02 +0100" FLAGS (\\Recent))\r\n'
    b'* 3 FETCH (UID 11 FLAGS () INTERNALDATE "no date" RFC822.SIZE 99999999)\r\n'
)
BODIES = {3: b"A: 1\r\n", 9: b"A: 2\r\n"}


class Imap:
    """A server for as many connections as come; each line is answered by `answers`, first match wins."""

    def __init__(self, answers: dict[bytes, bytes | Answer | None], capability: bytes = b"IMAP4rev1") -> None:
        self.answers = answers
        self.capability = capability
        self.commands: list[bytes] = []
        self.connections = 0

    @contextlib.contextmanager
    def serving(self) -> Iterator[int]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
            yield listener.getsockname()[1]

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                self.connections += 1
                threading.Thread(target=self._follow, args=(connection,), daemon=True).start()

    def _follow(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as reader:
            connection.sendall(b"* OK [CAPABILITY " + self.capability + b"] hello\r\n")
            while line := reader.readline():
                tag, _, command = line.rstrip().partition(b" ")
                self.commands.append(command)
                if command.startswith(b"AUTHENTICATE"):
                    connection.sendall(b"+ \r\n")
                    self.commands.append(reader.readline().rstrip())
                answer = self._answer(command)
                if answer is None:
                    return
                lines, status = answer, b"OK done"
                for word in (b"NO ", b"BAD "):
                    if word in answer:
                        lines, _, status = answer.rpartition(word)
                        status = word + status
                connection.sendall(lines + tag + b" " + status + b"\r\n")

    def _answer(self, command: bytes) -> bytes | None:
        if command == b"CAPABILITY":
            return b"* CAPABILITY " + self.capability + b"\r\n"
        for start, answer in self.answers.items():
            if command.startswith(start):
                return answer(command) if callable(answer) else answer
        return b""


def body(command: bytes) -> bytes:
    """UID FETCH of bodies, the UID behind the literal as some servers have it."""
    uids = [int(uid) for uid in command.split()[2].split(b",")]
    return b"".join(
        b"* %d FETCH (BODY[] {%d}\r\n%s UID %d)\r\n" % (uid, len(BODIES[uid]), BODIES[uid], uid)
        for uid in uids
        if uid in BODIES
    )


GOOD: dict[bytes, bytes | Answer | None] = {
    b"EXAMINE": b"* 3 EXISTS\r\n* OK [UIDVALIDITY 77] x\r\n",
    b"FETCH 1:3": FETCHED,
    b"UID FETCH": body,
    b"STATUS": b"* STATUS INBOX (MESSAGES 3)\r\n",
    b"LIST": b'* LIST () "/" INBOX\r\n',
}


def source(port: int, pauses: list[float] | None = None, *, user: str = "al ice", admin: str = "") -> ImapSource:
    return ImapSource(
        Server("127.0.0.1", port, "none", user, 'se"cret', admin), ([] if pauses is None else pauses).append
    )


INBOX = Folder(("INBOX",), "INBOX")


def test_messages_of_a_folder() -> None:
    server = Imap(dict(GOOD))
    with server.serving() as port:
        one = source(port)
        assert one.count(INBOX) == 3
        found = list(one.messages(INBOX, lambda name: False))
        assert [(item.id, item.flags, item.date) for item in found] == [
            ("77.3", ("\\Seen", "$Label1"), 1000),
            ("77.9", ("\\Recent",), 2000),
            ("77.11", (), None),
        ]
        assert [item.load() for item in found[:2]] == [b"A: 1\r\n", b"A: 2\r\n"]
        assert {item.generation for item in found} == {"77"}
        with pytest.raises(Unreadable, match="over 50 MB"):
            found[2].load()
        assert [item.id for item in one.messages(INBOX, lambda name: name != "77.9")] == ["77.9"]
        one.close()
    assert b'LOGIN "al ice" "se\\"cret"' in server.commands
    assert b"UID FETCH 3,9 (UID BODY.PEEK[])" in server.commands
    assert not [command for command in server.commands if command.startswith((b"SELECT", b"STORE"))]


@pytest.mark.parametrize(
    ("capability", "answers", "expected"),
    [
        (
            b"IMAP4rev1 NAMESPACE",
            {
                b"NAMESPACE": b'* NAMESPACE (("INBOX." ".")) NIL NIL\r\n',
                b"LSUB": b'* LSUB () "." "INBOX.Sent"\r\n',
                b"LIST": b'* LIST (\\HasChildren) "." "INBOX"\r\n* LIST () "." "INBOX.Sent"\r\n'
                b'* LIST (\\Noselect) "." "INBOX.Old"\r\n* LIST () "." "INBOX.Old.a/b"\r\n* LIST () "." "shared.x"\r\n',
            },
            {
                ("INBOX",): (None, False),
                ("Sent",): ("\\Sent", True),
                ("Old", "a/b"): (None, False),
                ("shared", "x"): (None, False),
            },
        ),
        (
            b"IMAP4rev1 SPECIAL-USE LIST-EXTENDED",
            {
                b'LIST "" "*" RETURN': b'* LIST (\\Sent \\HasNoChildren) "/" Gesendet\r\n* LIST () "/" inbox\r\n'
                b'* LIST (\\All) "/" "[Gmail]/All \\"Mail\\""\r\n* LIST () "/" "Entw&APw-rfe"\r\n'
            },
            {
                ("INBOX",): (None, None),
                ("Gesendet",): ("\\Sent", None),
                ("[Gmail]", 'All "Mail"'): ("\\All", None),
                ("Entwürfe",): (None, None),
            },
        ),
        (
            b"IMAP4rev1",
            {b"LIST": b"* LIST () NIL {5}\r\na b/c\r\n* LIST (\\Junk) NIL Spam\r\n* LIST (\\Noselect\r\n"},
            {("a b/c",): (None, None), ("Spam",): ("\\Junk", None)},
        ),
    ],
)
def test_folders_of_every_kind_of_server(
    capability: bytes,
    answers: dict[bytes, bytes | Answer | None],
    expected: dict[tuple[str, ...], tuple[str | None, bool | None]],
) -> None:
    with Imap(answers, capability).serving() as port:
        one = source(port)
        assert {folder.levels: (folder.special_use, folder.subscribed) for folder in one.folders()} == expected
        one.close()


def test_a_connection_that_ends_is_made_anew_and_reading_goes_on() -> None:
    calls: list[bytes] = []

    def breaking(command: bytes) -> bytes | None:
        calls.append(command)
        return None if len(calls) in (1, 2) else body(command)

    server = Imap(dict(GOOD) | {b"UID FETCH": breaking})
    pauses: list[float] = []
    with server.serving() as port:
        found = [item.id for item in source(port, pauses).messages(INBOX, lambda name: False)]
    assert found == ["77.3", "77.9", "77.11"]
    assert (server.connections, pauses) == (3, [2.0, 4.0])


def test_a_server_that_is_gone_for_good_loses_the_folder() -> None:
    server = Imap(dict(GOOD) | {b"UID FETCH": None})
    pauses: list[float] = []
    with server.serving() as port, pytest.raises(FolderLost):
        list(source(port, pauses).messages(INBOX, lambda name: False))
    assert pauses == [2.0, 4.0, 8.0]


@pytest.mark.parametrize("command", [b"EXAMINE", b"FETCH"])
@pytest.mark.parametrize("answer", [b"NO not now", b"BAD what"])
def test_a_refusal_loses_the_folder_and_no_more(command: bytes, answer: bytes) -> None:
    answers = {command: answer} | {name: value for name, value in GOOD.items() if not name.startswith(command)}
    with Imap(answers).serving() as port:
        one = source(port)
        with pytest.raises(FolderLost):
            list(one.messages(INBOX, lambda name: False))
        with pytest.raises(FolderLost):
            list(one.messages(Folder(("ü",), "ü"), lambda name: False))
        assert one.count(INBOX) == 3


def test_a_message_that_the_server_does_not_give_hides_no_other() -> None:
    def refusing(command: bytes) -> bytes:
        return b"NO broken" if b"3" in command.split()[2].split(b",") else body(command)

    with Imap(dict(GOOD) | {b"UID FETCH": refusing}).serving() as port:
        first, second, _ = source(port).messages(INBOX, lambda name: False)
        assert second.load() == b"A: 2\r\n"
        with pytest.raises(Unreadable, match="doesn't give it"):
            first.load()


def test_logging_in() -> None:
    server = Imap(dict(GOOD), b"IMAP4rev1 AUTH=PLAIN")
    with server.serving() as port:
        source(port).folders()
        source(port, user="bob", admin="master").folders()
    assert server.commands[2] == b"AGFsIGljZQBzZSJjcmV0"
    assert b"Ym9iAG1hc3RlcgBzZSJjcmV0" in server.commands
    with (
        Imap({b"LOGIN": b"NO [AUTHENTICATIONFAILED] wrong"}).serving() as port,
        pytest.raises(CommandError, match="let"),
    ):
        source(port).folders()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = listener.getsockname()[1]
    with pytest.raises(Unreachable):
        source(closed).folders()


@pytest.mark.parametrize(
    ("text", "tls", "expected"),
    [
        ("mail.example.net", "implicit", ("mail.example.net", 993)),
        ("mail.example.net", "starttls", ("mail.example.net", 143)),
        ("mail.example.net:1993", "implicit", ("mail.example.net", 1993)),
        ("[::1]:10", "none", ("::1", 10)),
        ("::1", "none", ("::1", 143)),
        ("x:y", "none", None),
        ("x:0", "none", None),
        ("x", "maybe", None),
    ],
)
def test_hosts(text: str, tls: str, expected: tuple[str, int] | None) -> None:
    if expected is None:
        with pytest.raises(WrongUse):
            _host(text, tls)
    else:
        assert _host(text, tls) == expected


def test_the_password_comes_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "p").write_text("from a file \n")
    assert _password(tmp_path / "p", "x") == "from a file "
    monkeypatch.setenv("MB_IMPORT_PASSWORD", "from there")
    assert _password(None, "x") == "from there"
    monkeypatch.delenv("MB_IMPORT_PASSWORD")
    (tmp_path / "empty").touch()
    for file in (None, tmp_path / "empty", tmp_path / "missing"):
        with pytest.raises(WrongUse):
            _password(file, "x")
