"""The smoke test itself: a temporary account, mail to it on both ways in, read on both ways out, and no trace left.

What is sent goes to the temporary account only. A thing is noted before the call that makes it, so that whatever
interrupts the call, the last step removes it.
"""

from __future__ import annotations

import contextlib
import secrets
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from mailboatctl.client import Client, segment
from mailboatctl.errors import ApiRefused, CheckFailed, CommandError, Unreachable
from mailboatctl.smoke import mail, metrics, pop3, relay
from mailboatctl.smoke.endpoint import Endpoint
from mailboatctl.smoke.faults import explained
from mailboatctl.smoke.imap_idle import IdleClient
from mailboatctl.smoke.interrupts import Interrupts, Stopped, TooLate
from mailboatctl.smoke.runner import Facts, Outcome, Result, Runner

STEPS = ("api", "account", "idle", "reception", "submission", "seen", "bytes", "pop3", "relay", "metrics", "cleanup")
WAYS = ("reception", "submission")


@dataclass(frozen=True, slots=True)
class Targets:
    """What is tested. ``domain``: one that exists and stays; None: a temporary one. ``timeout``: seconds a step."""

    smtp: Endpoint
    submission: Endpoint
    imaps: Endpoint
    pop3s: Endpoint
    metrics: tuple[str, ...]
    tls: ssl.SSLContext
    domain: str | None = None
    timeout: float = 30.0


@dataclass(frozen=True, slots=True)
class Made:
    """Something of ours on the platform: where the API has it, and its name for people."""

    path: str
    kind: str
    name: str


class Smoke:
    """One run. ``connect`` gives a client of the API; ``random_name`` a text of hex digits that nobody has had."""

    def __init__(
        self,
        connect: Callable[[], Client],
        targets: Targets,
        show: Callable[[Result], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        random_name: Callable[[], str] = lambda: secrets.token_hex(6),
        comparison: metrics.Comparison | None = None,
    ) -> None:
        self._connect = connect
        self._to = targets
        self._interrupts = Interrupts()
        self._run = Runner(targets.timeout, self._interrupts, clock, show)
        self._random_name = random_name
        self._metrics = comparison or metrics.Comparison(targets.metrics)
        self._made: list[Made] = []
        self._address = ""
        self._password = secrets.token_urlsafe(24)
        self._imap: IdleClient | None = None
        self._sent: dict[str, mail.Sent] = {}
        self._numbers: dict[str, int] = {}
        self._delays: dict[str, int] = {}

    def run(self) -> list[Result]:
        """All steps; their results in the order of STEPS. Whatever happens, the last one is done."""
        with self._interrupts:
            try:
                self._prove()
            except Stopped as stopped:  # between two steps
                done = {result.step for result in self._run.results}
                for step in STEPS[:-1]:
                    if step not in done:
                        self._run.not_tried(step, f"interrupted by {stopped}")
            finally:
                try:
                    if self._imap is not None:
                        self._imap.close()
                finally:
                    self._run.last_step("cleanup", self._cleanup)
        return self._run.results

    def _prove(self) -> None:
        run = self._run
        run.step("api", self._api)
        run.step("account", self._account, needs=["api"])
        before = run.attempt(self._look_at_metrics) if self._to.metrics and run.passed("account") else None
        run.step("idle", self._idle, needs=["account"])
        run.step("reception", self._reception, needs=["account"])
        first = self._watch_first()
        run.step("submission", self._submission, needs=["account"])
        run.step("seen", lambda: self._seen("submission"), needs=["idle", *WAYS], begun=first)
        run.step("bytes", self._bytes, needs=["seen"])
        run.step("pop3", self._pop3, needs=WAYS)
        run.step("relay", self._relay, needs=["api"])
        if self._to.metrics:
            run.step("metrics", self._metrics.end, needs=["idle", *WAYS, "pop3"], begun=before)
        else:
            run.not_asked("metrics", "not asked for: no --metrics was given")

    # --- the steps ---

    def _api(self) -> Facts:
        # What is asked for is what the token must be allowed to see: all domains, or the accounts of the one named.
        path, query = ("/v1/accounts", {"domain": self._to.domain}) if self._to.domain else ("/v1/domains", {})
        with self._calling() as api:
            api.call("GET", path, query={**query, "limit": "1"})
        return {}

    def _account(self) -> Facts:
        domain = self._to.domain or f"smoke-{self._random_name()}.test"
        self._address = f"smoke-{self._random_name()}@{domain}"
        with self._calling() as api:
            if self._to.domain is None:
                self._make(api, "domain", domain, {"name": domain})
            self._make(api, "account", self._address, {"address": self._address, "password": self._password})
        return {"account": self._address}

    def _idle(self) -> Facts:
        to = self._to.imaps
        with explained("IMAP", to):
            self._imap = IdleClient(to.host, to.port, self._to.tls, self._to.timeout, implicit_tls=True)
            self._imap.login(self._address, self._password)
            count = self._imap.select("INBOX")
            self._imap.idle()
        return {"messages": count}

    def _reception(self) -> Facts:
        with explained("SMTP", self._to.smtp):
            sent = mail.send(
                self._to.smtp, self._to.tls, mail.OUTSIDER, self._address, "25, from outside", timeout=self._to.timeout
            )
            return self._accepted("reception", sent)

    def _submission(self) -> Facts:
        with explained("submission", self._to.submission):
            sent = mail.send(
                self._to.submission, self._to.tls, self._address, self._address, "587, authenticated",
                login=(self._address, self._password), timeout=self._to.timeout,
            )  # fmt: skip
            return self._accepted("submission", sent)

    def _accepted(self, way: str, sent: mail.Sent) -> Facts:
        self._sent[way] = sent
        return {"trace_id": sent.trace_id, "bytes": len(sent.content)}

    def _watch_first(self) -> Outcome | None:
        """The first message is waited for before the second is sent, so that each is told of, and timed, alone."""
        if not self._run.passed("idle", "reception"):
            return None
        return self._run.attempt(lambda: self._seen("reception"))

    def _seen(self, way: str) -> Facts:
        imap, sent = self._session(), self._sent[way]
        try:
            with explained("IMAP", self._to.imaps):
                self._numbers[way] = imap.wait_for_exists(imap.exists, self._to.timeout)
        except CheckFailed as error:
            raise CheckFailed(f"the message of the step {way} ({sent.trace_id}) was not announced: {error}") from error
        # The server may well tell of a message before its sender has read the 250.
        self._delays[way] = max(0, round((imap.seen_at - sent.accepted_at) * 1000))
        return {"delay_ms": self._delays}

    def _bytes(self) -> Facts:
        imap = self._session()
        with explained("IMAP", self._to.imaps):
            imap.done()
            for way, number in self._numbers.items():
                mail.compare(self._sent[way].content, imap.fetch(number))
        return {"messages": len(self._numbers)}

    def _pop3(self) -> Facts:
        with explained("POP3", self._to.pop3s):
            read = pop3.read_all(self._to.pop3s, self._to.tls, (self._address, self._password), self._to.timeout)
            if len(read) != len(self._sent):
                raise CheckFailed(f"there are {len(read)} messages, not {len(self._sent)}")
            for sent, content in zip(self._sent.values(), read, strict=True):
                mail.compare(sent.content, content)
        return {"messages": len(read)}

    def _relay(self) -> Facts:
        with explained("SMTP", self._to.smtp):
            outside = relay.refused_by_reception(self._to.smtp, self._to.timeout)
        with explained("submission", self._to.submission):
            stranger = relay.refused_by_submission(self._to.submission, self._to.tls, self._to.timeout)
        return {"reception": outside, "submission": stranger}

    def _look_at_metrics(self) -> Facts:
        self._metrics.begin()
        return {}

    def _cleanup(self) -> Facts:
        removed = [made.name for made in reversed(self._made)]
        try:
            with self._calling() as api:
                while self._made:  # the account before its domain
                    _remove(api, self._made[-1])
                    self._made.pop()
        except CommandError as error:
            left = " and ".join(f"{made.kind} {made.name}" for made in reversed(self._made))
            raise CheckFailed(f"{error} Still there, it seems: {left}. mailboatctl removes them by hand.") from error
        facts: dict[str, Any] = {"removed": removed}
        if self._address in removed and self._run.passed("reception"):
            with explained("SMTP", self._to.smtp):
                facts["reply"] = relay.wait_until_refused(self._to.smtp, self._address, self._to.timeout / 2)
        return facts

    # --- what they are made of ---

    @contextlib.contextmanager
    def _calling(self) -> Iterator[Client]:
        """A client of the API. An API that uses up the step's time is as good as none."""
        with self._connect() as api:
            try:
                yield api
            except TooLate as error:
                raise Unreachable(f"The API did not answer: {error}.") from error

    def _make(self, api: Client, kind: str, name: str, body: dict[str, Any]) -> None:
        self._made.append(Made(f"/v1/{kind}s/{segment(name)}", kind, name))
        try:
            api.call("POST", f"/v1/{kind}s", body)
        except ApiRefused:
            self._made.pop()
            raise

    def _session(self) -> IdleClient:
        if self._imap is None:
            raise AssertionError("a step that needs the IMAP session was tried without it")
        return self._imap


def _remove(api: Client, made: Made) -> None:
    """Remove what may be there, and see that it is gone. Raises CheckFailed, ApiRefused, Unreachable."""
    for method in ("DELETE", "GET"):
        try:
            api.call(method, made.path)
        except ApiRefused as refused:
            if refused.code != httpx.codes.NOT_FOUND:
                raise
        else:
            if method == "GET":
                raise CheckFailed(f"The API still shows {made.name} after it was removed.")
