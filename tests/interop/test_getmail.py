"""getmail: POP3 and IMAP that leave mail on the server and remember what they brought, over TLS;
it knows no STARTTLS."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.far import Server, large
from tests.interop.programs import run
from tests.support.stack import Account, LiveStack

pytestmark = pytest.mark.stack


class Getmail:
    """One person's getmail and its `oldmail` file. Each message it brings becomes a file."""

    def __init__(self, program: str, directory: Path, live: LiveStack, account: Account) -> None:
        self._program, self._directory, self._live, self._account = program, directory, live, account
        self._arrived = directory / "arrived"
        self._arrived.mkdir(parents=True)

    def poll(self, pod: int, protocol: str, **options: object) -> list[bytes]:
        """What this run brought, in the order of arrival."""
        service = {"POP3": "pop3", "IMAP": "imap"}[protocol]
        # oldmail is kept for a server's name and port: a port that differs is another server.
        port = self._live.stack.ports(f"{service}_gateway-{pod}")[f"{service}s"]
        more = "".join(f"{name} = {value}\n" for name, value in options.items())
        config = self._directory / "getmailrc"
        config.write_text(
            f"[retriever]\ntype = Simple{protocol}SSLRetriever\nserver = localhost\nport = {port}\n"
            f"username = {self._account.address}\npassword = {self._account.password}\n"
            f"ca_certs = {self._live.stack.layout.ca}\n"
            f"[destination]\ntype = MDA_external\npath = /bin/sh\nallow_root_commands = true\n"
            f'arguments = ("-c", "cat > {self._arrived}/$$.mail")\nunixfrom = false\n'
            f"[options]\nverbose = 0\nread_all = false\nreceived = false\ndelivered_to = false\n{more}"
        )
        run([self._program, "--getmaildir", self._directory, "--rcfile", config], PYTHONWARNINGS="ignore")
        files = sorted(self._arrived.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        contents = [path.read_bytes() for path in files]
        for path in files:
            path.unlink()
        return contents


def subjects(contents: list[bytes]) -> list[bytes]:
    return [content.partition(b"Subject: ")[2].partition(b"\n")[0] for content in contents]


@pytest.mark.parametrize("protocol", ["POP3", "IMAP"])
def test_mail_that_is_left_comes_once(getmail: str, live_stack: LiveStack, tmp_path: Path, protocol: str) -> None:
    account = live_stack.account()
    far = Server(live_stack, account)
    near = Getmail(getmail, tmp_path, live_stack, account)
    far.append("INBOX", "one")
    far.append("INBOX", "two")
    assert subjects(near.poll(1, protocol, delete=False)) == [b"one", b"two"]
    assert near.poll(1, protocol, delete=False) == []
    far.expunge("INBOX", "one")
    far.append("INBOX", "three")
    assert subjects(near.poll(1, protocol, delete=False)) == [b"three"]
    assert far.found("INBOX") == {"two", "three"}
    # Mail that is older than a day would be removed: none is. Then all of it, brought before or now.
    assert near.poll(1, protocol, delete=False, delete_after=1) == []
    assert far.found("INBOX") == {"two", "three"}
    far.append("INBOX", "four")
    assert subjects(near.poll(1, protocol, delete=True)) == [b"four"]
    assert far.found("INBOX") == set()


def test_the_other_pod_gives_the_same_uidls(getmail: str, live_stack: LiveStack, tmp_path: Path) -> None:
    account = live_stack.account()
    far = Server(live_stack, account)
    near = Getmail(getmail, tmp_path, live_stack, account)
    for number in range(5):
        far.append("INBOX", f"number-{number}")
    assert len(near.poll(1, "POP3", delete=False)) == 5
    (one,) = tmp_path.glob("oldmail-*")
    first, second = (str(live_stack.stack.ports(f"pop3_gateway-{pod}")["pop3s"]) for pod in (1, 2))
    one.rename(one.with_name(one.name.replace(first, second)))
    assert near.poll(2, "POP3", delete=False) == []


@pytest.mark.parametrize("protocol", ["POP3", "IMAP"])
def test_thirty_megabytes_come_down(getmail: str, live_stack: LiveStack, tmp_path: Path, protocol: str) -> None:
    account = live_stack.account()
    far = Server(live_stack, account)
    content = large("getmail")
    far.file("INBOX", content)
    (arrived,) = Getmail(getmail, tmp_path, live_stack, account).poll(2, protocol, delete=True)
    assert arrived.endswith(content.partition(b"\r\n\r\n")[2].replace(b"\r\n", b"\n"))
    assert far.found("INBOX") == set()
