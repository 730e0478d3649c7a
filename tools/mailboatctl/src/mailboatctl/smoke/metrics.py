"""Counters before and after: that the processes whose metrics are looked at are those that the mail went through.

A URL's host may stand for many processes (a headless Service of Kubernetes): each of its addresses is asked. Which one
serves a connection is up to the network, so a counter must have risen at one address at least.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import httpx
from prometheus_client.parser import text_string_to_metric_families

from mailboatctl.errors import CheckFailed, WrongUse
from mailboatctl.smoke.endpoint import PORTS

CONNECT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Counted:
    """A sample's name, the labels it must have (any others are added up), and what it counts."""

    sample: str
    what: str
    labels: Mapping[str, str] = field(default_factory=dict)


COUNTED = (
    Counted("mailboat_smtp_messages_total", "accepted messages", {"result": "accepted"}),
    Counted("mailboat_imap_command_duration_seconds_count", "IMAP commands"),
    Counted("mailboat_pop3_command_duration_seconds_count", "POP3 commands"),
)
Counts = Mapping[str, float]
"""Sample's name -> value, of those in COUNTED that a process has."""


@dataclass(frozen=True, slots=True)
class Page:
    """The metrics of one process: a URL and one of the addresses of its host."""

    url: str
    address: str

    def __str__(self) -> str:
        return f"{self.url} at {self.address}"


Resolve = Callable[[str, int], Sequence[str]]
Fetch = Callable[[Page], str]


def check_url(option: str, text: str) -> str:
    """The URL if it is one that can be asked. Raises WrongUse."""
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme != "http" or not url.host or url.userinfo or (url.port or 80) not in PORTS:
        raise WrongUse(f"{option} {text!r}: a URL is needed, such as http://localhost:11101/metrics.")
    return text


def addresses(host: str, port: int) -> list[str]:
    """Every address of a host. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


def fetch(page: Page) -> str:
    """The page's text. Raises httpx.HTTPError."""
    url = httpx.URL(page.url)
    answer = httpx.get(
        url.copy_with(host=page.address),
        headers={"Host": url.netloc.decode("ascii")},
        timeout=CONNECT_SECONDS,
        trust_env=False,  # no proxy knows a pod's address
    )
    return answer.raise_for_status().text


def counts(exposition: str) -> Counts:
    """The samples in COUNTED of a page in the Prometheus text format. Raises ValueError if it isn't one."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            for counted in COUNTED:
                if sample.name == counted.sample and counted.labels.items() <= sample.labels.items():
                    found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


class Comparison:
    """Looks at all pages twice."""

    def __init__(self, urls: Sequence[str], resolve: Resolve = addresses, fetch: Fetch = fetch) -> None:
        self._urls = urls
        self._resolve = resolve
        self._fetch = fetch
        self._before: dict[Page, Counts] = {}
        self._silent: dict[Page, str] = {}

    def begin(self) -> None:
        """The first look. Raises CheckFailed for a URL of which no address answers."""
        for url in self._urls:
            pages = self._pages(url)
            for page in pages:
                self._look(page, self._before)
            if not any(page in self._before for page in pages):
                raise CheckFailed("; ".join(f"{page}: {self._silent[page]}" for page in pages))

    def end(self) -> dict[str, object]:
        """The second look. Raises CheckFailed unless each counter has risen somewhere.

        Returns {"addresses": how many were compared, "risen": {sample: by how much, all together}} and, if some
        addresses didn't answer, {"unanswered": {page: why}}.
        """
        after: dict[Page, Counts] = {}
        for page in self._before:
            self._look(page, after)
        risen = {counted.sample: _rise(counted.sample, self._before, after) for counted in COUNTED}
        still = [f"{counted.what} ({counted.sample})" for counted in COUNTED if not risen[counted.sample]]
        if still:
            silent = "".join(f"; {page}: {why}" for page, why in self._silent.items())
            raise CheckFailed(f"not risen at any of {len(after)} addresses: {', '.join(still)}{silent}")
        facts: dict[str, object] = {"addresses": len(after), "risen": risen}
        return facts | ({"unanswered": {str(page): why for page, why in self._silent.items()}} if self._silent else {})

    def _pages(self, url: str) -> list[Page]:
        parts = httpx.URL(url)
        try:
            return [Page(url, address) for address in self._resolve(parts.host, parts.port or 80)]
        except (OSError, UnicodeError) as error:
            raise CheckFailed(f"{url}: the name can't be resolved: {error}") from error

    def _look(self, page: Page, into: dict[Page, Counts]) -> None:
        """One page. What can't be read is remembered, not raised: a process may end between two looks."""
        try:
            into[page] = counts(self._fetch(page))
        except (httpx.HTTPError, ValueError) as error:
            self._silent[page] = f"{error}" or type(error).__name__


def _rise(sample: str, before: Mapping[Page, Counts], after: Mapping[Page, Counts]) -> int:
    """By how much a counter has risen, all pages together; one that fell (a new process) has not risen."""
    rises = (now.get(sample, 0.0) - before[page].get(sample, 0.0) for page, now in after.items())
    return int(sum(rise for rise in rises if rise > 0))
