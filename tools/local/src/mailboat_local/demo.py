"""``make demo``: mail going in and being read, on the real platform, with nothing but standard clients.

A domain and two accounts are made through the REST API; bob waits in IMAP IDLE (RFC 2177); a message with an
attachment comes from outside on port 25 and one from alice, authenticated, on 587; each is fetched and compared byte
for byte with what was sent; the message's trace and commands to paste are shown.
"""

from __future__ import annotations

import hashlib
import json
import re
import smtplib
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, localtime, make_msgid
from typing import Any

from rich.console import Console
from rich.table import Table

from mailboat_local.idle import IdleClient
from mailboat_local.layout import StackError
from mailboat_local.stack import Stack

DOMAIN = "example.test"
ALICE, BOB, OUTSIDER = f"alice@{DOMAIN}", f"bob@{DOMAIN}", "carol@elsewhere.example"
TRACE_ID = re.compile(r"\b[0-9a-hjkmnp-tv-z]{26}\b")
ARRIVAL_SECONDS = 30.0
_WIRE = SMTP.clone(max_line_length=78)


@dataclass(frozen=True, slots=True)
class Sent:
    """A message the server has answered with 250."""

    content: bytes
    reply: str
    seconds: float

    @property
    def trace_id(self) -> str:
        found = TRACE_ID.search(self.reply)
        if found is None:
            raise StackError(f"The server's answer names no trace id: {self.reply}")
        return found[0]


class Rest:
    """The REST API, with the first token."""

    def __init__(self, base: str, token: str) -> None:
        self._base = base
        self._token = token

    def call(self, method: str, path: str, body: object = None, accept: tuple[int, ...] = ()) -> tuple[int, Any]:
        """(status, JSON); a refusal that isn't among ``accept`` is a StackError with the problem's text."""
        request = urllib.request.Request(  # noqa: S310 - http to this machine
            self._base + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                text = answer.read()
                return answer.status, json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            text = error.read()
            if error.code in accept:
                return error.code, None
            raise StackError(f"{method} {path} was refused: {error.code} {text.decode(errors='replace')}") from error
        except urllib.error.URLError as error:
            raise StackError(f"{method} {path}: the REST API does not answer: {error.reason}") from error


class Demo:
    """The whole show on a running stack."""

    def __init__(self, stack: Stack, console: Console) -> None:
        self._stack = stack
        self._console = console
        self._env = stack.env
        self._tls = ssl.create_default_context(cafile=str(stack.layout.ca))
        self._rest = Rest(stack.api_url, self._env["MB_API_TOKEN"])

    def play(self) -> None:
        """Everything; raises StackError at the first thing that isn't as it should be."""
        self._people()
        imap = self._stack.ports("imap_gateway-1")["imap"]
        with IdleClient("localhost", imap, self._tls) as bob:
            bob.login(BOB, self._env["DEMO_BOB_PASSWORD"])
            count = bob.select("INBOX")
            self._say(f"bob has selected INBOX on port {imap} (STARTTLS): {count} messages, and waits in IDLE")
            incoming = self._deliver(bob, "25, from outside", OUTSIDER, self._send_from_outside)
            submitted = self._deliver(bob, "587, from alice, authenticated", ALICE, self._submit)
        self._trace(incoming.trace_id)
        self._trace(submitted.trace_id)
        self._commands(incoming.trace_id)

    def _people(self) -> None:
        status, _ = self._rest.call("POST", "/v1/domains", {"name": DOMAIN}, accept=(409,))
        self._say(f"domain {DOMAIN} {'was there' if status == 409 else 'made'}")
        for address, variable in ((ALICE, "DEMO_ALICE_PASSWORD"), (BOB, "DEMO_BOB_PASSWORD")):
            account = {"address": address, "password": self._env[variable]}
            status, _ = self._rest.call("POST", "/v1/accounts", account, accept=(409,))
            if status == 409:
                path = f"/v1/accounts/{urllib.parse.quote(address)}"
                self._rest.call("PATCH", path, {"password": self._env[variable]})
            self._say(f"account {address} {'was there' if status == 409 else 'made'}")

    def _deliver(self, bob: IdleClient, way: str, sender: str, send: Callable[[bytes], tuple[int, bytes]]) -> Sent:
        before = bob.exists
        bob.idle()
        content = message(sender, BOB, way).as_bytes(policy=_WIRE)
        started = time.monotonic()
        code, reply = send(content)
        accepted = time.monotonic()
        if code != 250:
            raise StackError(f"Port {way}: the server answered {code} {reply.decode(errors='replace')}")
        sent = Sent(content, reply.decode(errors="replace"), accepted - started)
        self._say(f"sent on port {way}: {len(content):,} bytes, 250 {sent.reply}")
        number = bob.wait_for_exists(before, ARRIVAL_SECONDS)
        delay = bob.seen_at - accepted
        when = f"{delay * 1000:.0f} ms after the 250" if delay > 0 else "before the 250 was read"
        self._say(f"bob's IDLE connection shows * {number} EXISTS {when}")
        bob.done()
        compare(content, bob.fetch(number))
        self._say("bob has fetched it: header, text and attachment are the bytes that were sent")
        return sent

    def _send_from_outside(self, content: bytes) -> tuple[int, bytes]:
        with smtplib.SMTP("localhost", self._stack.ports("smtp_ingress-1")["smtp"], timeout=60) as smtp:
            smtp.starttls(context=self._tls)
            return _transaction(smtp, OUTSIDER, BOB, content)

    def _submit(self, content: bytes) -> tuple[int, bytes]:
        with smtplib.SMTP("localhost", self._stack.ports("smtp_ingress-1")["submission"], timeout=60) as smtp:
            smtp.starttls(context=self._tls)
            smtp.login(ALICE, self._env["DEMO_ALICE_PASSWORD"])
            return _transaction(smtp, ALICE, BOB, content)

    def _trace(self, trace_id: str) -> None:
        deadline = time.monotonic() + 10
        while True:  # traces are written in batches, a moment after the commit
            status, trace = self._rest.call("GET", f"/v1/trace/{trace_id}", accept=(404,))
            events: list[dict[str, Any]] = [] if status == 404 else trace["events"]
            if events or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        table = Table(title=f"trace {trace_id}", title_justify="left", box=None, show_header=False)
        for event in events:
            when = datetime.fromtimestamp(event["at"] / 1000, UTC).strftime("%H:%M:%S.%f")[:-3]
            values = {key: event[key] for key in ("account", "mailbox", "message")} | event["details"]
            shown = " ".join(f"{key}={value}" for key, value in values.items() if value not in (None, ""))
            table.add_row(when, event["kind"], shown)
        self._console.print(table)
        if not events:
            raise StackError(f"There is no trace of {trace_id}.")

    def _commands(self, trace_id: str) -> None:
        smtp, imap = self._stack.ports("smtp_ingress-1"), self._stack.ports("imap_gateway-1")
        ca, credentials = self._stack.layout.ca, self._stack.layout.credentials
        self._console.print("\nThe platform goes on running. Try:\n", style="bold")
        for command in (
            "make status",
            f"set -a; . {credentials}; set +a",
            f".venv/bin/mailboatctl trace {trace_id}",
            ".venv/bin/mailboatctl account list",
            f'curl -s --cacert {ca} -u "{BOB}:$DEMO_BOB_PASSWORD" "imaps://localhost:{imap["imaps"]}/INBOX;MAILINDEX=1"',
            f'printf "From: {ALICE}\\r\\nTo: {BOB}\\r\\nSubject: hello\\r\\n\\r\\nfrom curl\\r\\n" | '
            f"curl -s --ssl-reqd --cacert {ca} --url smtp://localhost:{smtp['submission']} "
            f'-u "{ALICE}:$DEMO_ALICE_PASSWORD" --mail-from {ALICE} --mail-rcpt {BOB} -T -',
            f"openssl s_client -quiet -CAfile {ca} -connect localhost:{imap['imaps']}",
            "make down",
        ):
            self._console.print(f"  {command}", soft_wrap=True, highlight=False, markup=False)

    def _say(self, text: str) -> None:
        self._console.print(f"[green]ok[/]  {text.replace('[', chr(92) + '[')}", soft_wrap=True, highlight=False)


def message(sender: str, recipient: str, way: str) -> EmailMessage:
    """A multipart message: text, HTML, and an attachment with every byte value."""
    mail = EmailMessage()
    mail["From"], mail["To"] = sender, recipient
    mail["Subject"] = f"Ahoy, Mailboat – over port {way}"
    mail["Date"] = format_datetime(localtime())
    mail["Message-ID"] = make_msgid(domain=sender.partition("@")[2])
    mail.set_content(f"Grüße! This came over port {way}.\n\n.A line that begins with a dot.\n")
    mail.add_alternative(f"<p>Grüße! This came over port <b>{way}</b>.</p>\n", subtype="html")
    picture = bytes(range(256)) * 64
    mail.add_attachment(picture, maintype="application", subtype="octet-stream", filename="every-byte.bin")
    return mail


def compare(sent: bytes, fetched: bytes) -> None:
    """The fetched message is the sent one below trace headers of the servers it has passed."""
    added, found, rest = fetched.partition(sent)
    if not found or rest:
        raise StackError(
            f"What bob fetched ({len(fetched)} bytes, sha256 {hashlib.sha256(fetched).hexdigest()[:16]}) does not end "
            f"with what was sent ({len(sent)} bytes, sha256 {hashlib.sha256(sent).hexdigest()[:16]})."
        )
    names = {line.partition(b":")[0].lower() for line in added.split(b"\r\n") if line and line[:1] not in b" \t"}
    if unexpected := names - {b"received", b"return-path", b"delivered-to", b"authentication-results"}:
        raise StackError(f"The server added headers that nobody asked for: {sorted(unexpected)}")


def _transaction(smtp: smtplib.SMTP, sender: str, recipient: str, content: bytes) -> tuple[int, bytes]:
    smtp.ehlo()
    code, reply = smtp.mail(sender, [f"SIZE={len(content)}", "BODY=8BITMIME"])
    if code == 250:
        code, reply = smtp.rcpt(recipient)
    return smtp.data(content) if code == 250 else (code, reply)
