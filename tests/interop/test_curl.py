"""curl's own SMTP, IMAP and POP3, over TLS and STARTTLS, as the README and `make demo` tell people to use them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.interop.far import large
from tests.support.stack import Account, LiveStack, message

pytestmark = pytest.mark.stack


class Curl:
    """curl with the stack's authority and a user; `--ssl-reqd`: never in clear text."""

    def __init__(self, program: str, live: LiveStack, account: Account) -> None:
        self._fixed = [program, "-sS", "--max-time", "30", "--ssl-reqd", "--cacert", str(live.stack.layout.ca)]
        self._user = ["-u", f"{account.address}:{account.password}"]

    def __call__(self, *arguments: str, status: int = 0, user: bool = True) -> bytes:
        """Its output. AssertionError with its words if it ends with another status."""
        done = subprocess.run(
            [*self._fixed, *(self._user if user else []), *arguments], capture_output=True, check=False
        )
        assert done.returncode == status, (done.returncode, done.stderr.decode())
        return done.stdout


@pytest.mark.parametrize(
    "schemes",
    [
        {"smtps": "submissions", "imaps": "imaps", "pop3s": "pop3s"},
        {"smtp": "submission", "imap": "imap", "pop3": "pop3"},
    ],
    ids=["tls", "starttls"],
)
def test_submit_list_fetch_remove(curl: str, live_stack: LiveStack, tmp_path: Path, schemes: dict[str, str]) -> None:
    account = live_stack.account()
    run = Curl(curl, live_stack, account)
    content = f"From: {account.address}\r\n".encode() + message("from curl", b".\r\n..dots\r\n").partition(b"\r\n")[2]
    (tmp_path / "mail").write_bytes(content)

    pods = ("smtp_ingress-1", "imap_gateway-2", "pop3_gateway-1")
    submission, inbox, drop = (
        f"{scheme}://localhost:{live_stack.stack.ports(pod)[label]}"
        for (scheme, label), pod in zip(schemes.items(), pods, strict=True)
    )
    sent = ("--mail-from", account.address, "--mail-rcpt", account.address, "-T", str(tmp_path / "mail"))
    run("--url", submission, *sent)
    assert b"INBOX" in run(f"{inbox}/")
    fetched = run(f"{inbox}/INBOX;MAILINDEX=1")
    assert fetched.partition(b"From: ")[1:] == content.partition(b"From: ")[1:]
    run("-T", str(tmp_path / "mail"), f"{inbox}/INBOX")
    assert run(f"{inbox}/INBOX;UID=2") == content
    assert b"* SEARCH 1 2" in run(f"{inbox}/INBOX?SUBJECT%20curl")
    run(f"{inbox}/INBOX", "-X", r"STORE 1 +FLAGS (\Flagged)")
    assert rb"\Flagged" in run(f"{inbox}/INBOX", "-X", "FETCH 1 FLAGS")
    assert run(f"{drop}/").split()[::2] == [b"1", b"2"]
    assert run(f"{drop}/2") == content
    run(f"{drop}/2", "-X", "DELE", "-I")
    assert run(f"{drop}/").split()[::2] == [b"1"]


def test_curl_is_refused_without_a_password_or_with_a_wrong_one(
    curl: str, live_stack: LiveStack, tmp_path: Path
) -> None:
    """67: login denied; 55: the sender is refused."""
    account = live_stack.account()
    run = Curl(curl, live_stack, Account(account.address, "wrong"))
    for service, label in (("imap_gateway", "imaps"), ("pop3_gateway", "pop3s"), ("smtp_ingress", "submissions")):
        scheme = {"submissions": "smtps"}.get(label, label)
        port = live_stack.stack.ports(f"{service}-1")[label]
        run(f"{scheme}://localhost:{port}/", status=67)
    (tmp_path / "mail").write_bytes(message("relay"))
    port = live_stack.stack.ports("smtp_ingress-1")["submission"]
    run(
        "--url", f"smtp://localhost:{port}", "--mail-from", account.address, "--mail-rcpt", account.address,
        "-T", str(tmp_path / "mail"), status=55, user=False,
    )  # fmt: skip


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "starttls"])
def test_thirty_megabytes_up_and_down(curl: str, live_stack: LiveStack, tmp_path: Path, tls: bool) -> None:
    account = live_stack.account()
    run = Curl(curl, live_stack, account)
    (tmp_path / "mail").write_bytes(content := large("curl"))
    more = "s" if tls else ""
    up, down = (
        f"imap{more}://localhost:{live_stack.stack.ports(f'imap_gateway-{pod}')[f'imap{more}']}" for pod in (1, 2)
    )
    run("-T", str(tmp_path / "mail"), f"{up}/INBOX")
    assert run(f"{down}/INBOX;UID=1") == content
    assert run(f"pop3{more}://localhost:{live_stack.stack.ports('pop3_gateway-2')[f'pop3{more}']}/1") == content
