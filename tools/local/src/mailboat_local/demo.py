"""``make demo``: mail going in and being read, on the real platform, with nothing but standard clients.

A domain and two accounts are made through the REST API; bob waits in IMAP IDLE (RFC 2177); a message with an
attachment comes from outside on port 25 and one from alice, authenticated, on 587; each is fetched and compared byte
for byte with what was sent; the message's trace and commands to paste are shown.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from typing import Any

from mailboatctl.client import Client, segment
from mailboatctl.commands.trace import print_timeline
from mailboatctl.errors import ApiRefused
from mailboatctl.smoke.endpoint import Endpoint
from mailboatctl.smoke.imap_idle import IdleClient
from mailboatctl.smoke.mail import OUTSIDER, Sent, compare, send
from rich.console import Console

from mailboat_local.layout import StackError
from mailboat_local.stack import Stack

DOMAIN = "example.test"
ALICE, BOB = f"alice@{DOMAIN}", f"bob@{DOMAIN}"
ARRIVAL_SECONDS = 30.0
CONFLICT, NOT_FOUND = 409, 404


class Demo:
    """The whole show on a running stack."""

    def __init__(self, stack: Stack, console: Console) -> None:
        self._stack = stack
        self._console = console
        self._env = stack.env
        self._tls = ssl.create_default_context(cafile=str(stack.layout.ca))
        self._smtp = stack.ports("smtp_ingress-1")

    def play(self) -> None:
        """Everything; raises StackError or CommandError at the first thing that isn't as it should be."""
        with Client(self._stack.api) as api:
            self._people(api)
            trace_ids = self._mail()
            for trace_id in trace_ids:
                self._trace(api, trace_id)
        self._commands(trace_ids[0])

    def _mail(self) -> list[str]:
        imap = self._stack.ports("imap_gateway-1")["imap"]
        with IdleClient("localhost", imap, self._tls) as bob:
            bob.login(BOB, self._env["DEMO_BOB_PASSWORD"])
            count = bob.select("INBOX")
            self._say(f"bob has selected INBOX on port {imap} (STARTTLS): {count} messages, and waits in IDLE")
            return [
                self._deliver(bob, "25, from outside", self._send_from_outside).trace_id,
                self._deliver(bob, "587, from alice, authenticated", self._submit).trace_id,
            ]

    def _people(self, api: Client) -> None:
        made = _make(api, "/v1/domains", {"name": DOMAIN})
        self._say(f"domain {DOMAIN} {'made' if made else 'was there'}")
        for address, variable in ((ALICE, "DEMO_ALICE_PASSWORD"), (BOB, "DEMO_BOB_PASSWORD")):
            secret = {"password": self._env[variable]}
            made = _make(api, "/v1/accounts", {"address": address} | secret)
            if not made:
                api.call("PATCH", f"/v1/accounts/{segment(address)}", secret)
            self._say(f"account {address} {'made' if made else 'was there'}")

    def _deliver(self, bob: IdleClient, way: str, send_it: Callable[[str], Sent]) -> Sent:
        before = bob.exists
        bob.idle()
        sent = send_it(way)
        self._say(f"sent on port {way}: {len(sent.content):,} bytes, 250 {sent.reply}")
        number = bob.wait_for_exists(before, ARRIVAL_SECONDS)
        delay = bob.seen_at - sent.accepted_at
        when = f"{delay * 1000:.0f} ms after the 250" if delay > 0 else "before the 250 was read"
        self._say(f"bob's IDLE connection shows * {number} EXISTS {when}")
        bob.done()
        compare(sent.content, bob.fetch(number))
        self._say("bob has fetched it: header, text and attachment are the bytes that were sent")
        return sent

    def _send_from_outside(self, way: str) -> Sent:
        return send(Endpoint("localhost", self._smtp["smtp"]), self._tls, OUTSIDER, BOB, way)

    def _submit(self, way: str) -> Sent:
        login = ALICE, self._env["DEMO_ALICE_PASSWORD"]
        return send(Endpoint("localhost", self._smtp["submission"]), self._tls, ALICE, BOB, way, login=login)

    def _trace(self, api: Client, trace_id: str) -> None:
        deadline = time.monotonic() + 10
        while not (events := _events(api, trace_id)) and time.monotonic() < deadline:
            time.sleep(0.2)  # traces are written in batches, a moment after the commit
        if not events:
            raise StackError(f"There is no trace of {trace_id}.")
        self._console.print(f"\ntrace {trace_id}", soft_wrap=True, highlight=False)
        print_timeline(events, self._console)

    def _commands(self, trace_id: str) -> None:
        smtp, imap = self._smtp, self._stack.ports("imap_gateway-1")
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


def _make(api: Client, path: str, body: dict[str, str]) -> bool:
    """Whether it was made; False if it was there already."""
    try:
        api.call("POST", path, body)
    except ApiRefused as refused:
        if refused.code != CONFLICT:
            raise
        return False
    return True


def _events(api: Client, trace_id: str) -> list[dict[str, Any]]:
    """What the API knows of a message so far."""
    try:
        events: list[dict[str, Any]] = api.call("GET", f"/v1/trace/{trace_id}")["events"]
    except ApiRefused as refused:
        if refused.code != NOT_FOUND:
            raise
        return []
    return events
