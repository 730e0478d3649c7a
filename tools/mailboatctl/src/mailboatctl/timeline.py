"""A trace's events as lines for people: when, how long after the first octet, which service, what happened.

`received` becomes a line for each moment of the connection; every other event is one line, its remarks (a server's
reply, where the time went) below it. An event this version doesn't know is shown as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SMTP, STORAGE, IMAP, DELIVERY = "smtp_ingress", "storage_api", "imap_gateway", "delivery_worker"
REST = "api"
"""The listener of what was sent over REST."""

Event = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Line:
    """`at` in ms since the epoch; `since` in ms from the client's connection (for a later message of it: from MAIL)."""

    at: int
    since: int
    service: str
    what: str
    remarks: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """All of it, in lines; what isn't printable is a question mark."""
        lines = (self.what, *(f"  {remark}" for remark in self.remarks))
        return "\n".join("".join(c if c.isprintable() else "?" for c in line) for line in lines)

    @property
    def delta(self) -> str:
        """`since` in seconds, signed."""
        return f"{self.since / 1000:+.3f}"


def timeline(events: Sequence[Event]) -> list[Line]:
    """The lines of a trace in order of time."""
    start = next((event["at"] for event in events if event["kind"] == "received"), None)
    if start is None:
        start = min((event["at"] for event in events), default=0)
    lines: list[Line] = []
    for event in events:
        details = event.get("details") or {}
        try:
            lines += _lines(event, details, event["at"] - start)
        except KeyError:  # told by a release whose details are others
            lines.append(Line(event["at"], event["at"] - start, STORAGE, _as_it_is(event, details)[0]))
    return sorted(lines, key=lambda line: line.at)


def _lines(event: Event, details: Event, since: int) -> list[Line]:
    if event["kind"] == "received" and "phases" in details:
        return _phases(event["at"], since, details)
    service, describe = KINDS.get(event["kind"], (STORAGE, _as_it_is))
    what, *remarks = describe(event, details)
    return [Line(event["at"], since, service, what, tuple(filter(None, remarks)))]


def _phases(at: int, since: int, details: Event) -> list[Line]:
    """The moments of a connection that are known, each a line."""
    secured = details["phases"].get("secured")
    tls = details.get("tls", "")
    number = details.get("transaction", 1)
    whose = f", logged in as {details['login']}" if details.get("login") else ""
    which = f", transaction {number} of the connection" if number > 1 else ""
    texts = {
        "connected": f"{details.get('client', '?')} connects to {details['listener']}"
        + (f", {tls}" if tls and secured is None else ""),
        "first_command": f"first command; the client calls itself {details.get('helo') or '?'}",
        "secured": f"STARTTLS: {tls}",
        "mail": f"MAIL FROM {_path(details['sender'])}{whose}{which}",
        "data": f"message begins, for {_count(details['recipients'], 'recipient')}",
        "data_end": f"message ends; {_count(details['size'], 'octet')} with our fields",
    }
    moments = [(name, details["phases"][name]) for name in texts if name in details["phases"]]
    return [Line(at + offset, since + offset, SMTP, texts[name]) for name, offset in moments]


def _received(event: Event, details: Event) -> list[str]:
    over = "over REST" if details["listener"] == REST else f"on {details['listener']}"
    return [
        f"received {over} from {_path(details['sender'])} for {_count(details['recipients'], 'recipient')}, "
        f"{_count(details['size'], 'octet')}"
    ]


def _answered(event: Event, details: Event) -> list[str]:
    read = "the client has read it" if details["read"] else "the connection ended, and nothing says that it was read"
    return [f"answered {details['reply']}", read]


def _accepted(event: Event, details: Event) -> list[str]:
    return [f"accepted for {_count(details['recipients'], 'recipient')}, to be filed one by one"]


def _filed(event: Event, details: Event) -> list[str]:
    of = f" of {event['account']}" if event.get("account") not in {None, details.get("recipient")} else ""
    return [f"filed for {details['recipient']} in {event['mailbox']}{of}", f"message {event['message']}"]


def _duplicate(event: Event, details: Event) -> list[str]:
    return [f"not taken for {_whom(details)}: duplicate of {details['of']}"]


def _offered_again(event: Event, details: Event) -> list[str]:
    return [f"offered again as {details['as']} for {_whom(details)}, not taken"]


def _over_quota(event: Event, details: Event) -> list[str]:
    return [f"not taken for {_whom(details)}: over quota"]


def _gone(event: Event, details: Event) -> list[str]:
    return [f"not taken for {_whom(details)}: no such account"]


def _forwarded(event: Event, details: Event) -> list[str]:
    return [f"sent on by {details['via']} with the reverse-path {_path(details['reverse_path'])}"]


def _announced(event: Event, details: Event) -> list[str]:
    where = f"{event['mailbox']} of {event['account']}"
    return [f"EXISTS sent to {_count(details['sessions'], 'session')} in {where}", f"by {details['by']}"]


def _queued(event: Event, details: Event) -> list[str]:
    whom = details.get("recipient") or _count(details["recipients"], "recipient")
    return [f"queued for {details['domain']}: {whom}", f"queue {details['queue']}"]


def _attempt(event: Event, details: Event) -> list[str]:
    return [f"attempt {details['attempt']} for {details['domain']} begins", f"queue {details['queue']}"]


def _outcome(event: Event, details: Event) -> list[str]:
    attempt = f"attempt {details['attempt']}: " if "attempt" in details else ""
    at = f" at {details['host']}, {details.get('tls') or 'in the clear'}" if details.get("host") else ""
    said = details.get("reply") or details.get("reason") or details.get("status", "")
    end = "given up after all attempts" if details.get("expired") else ""
    return [f"{attempt}{event['kind']} {details['recipient']}{at}", said, end, _spent(details.get("phases", {}))]


def _notice(event: Event, details: Event) -> list[str]:
    return [f"notice of {details['about']} to {details['recipient']}: {details['notice']}"]


def _written(event: Event, details: Event) -> list[str]:
    return [f"notice of {details['notice']} written to {details['recipient']}, about {details['about']}"]


def _untold(event: Event, details: Event) -> list[str]:
    why = details.get("reason") or details.get("status", "")
    return [f"the sender isn't told of {details['recipient']}" + (f": {why}" if why else "")]


def _suppressed(event: Event, details: Event) -> list[str]:
    return [f"{details['recipient']} is suppressed from now on: {details['status']}"]


def _steered(event: Event, details: Event) -> list[str]:
    return [f"{event['kind']} by {details['by']}: {details['domain']}", f"queue {details['queue']}"]


def _as_it_is(event: Event, details: Event) -> list[str]:
    values = {key: event[key] for key in ("account", "mailbox", "message") if key in event} | dict(details)
    shown = (f"{key}={value}" for key, value in values.items() if value not in (None, ""))
    return [" ".join((event["kind"], *shown))]


KINDS: dict[str, tuple[str, Callable[[Event, Event], list[str]]]] = {
    "received": (STORAGE, _received),
    "answered": (SMTP, _answered),
    "accepted": (STORAGE, _accepted),
    "filed": (STORAGE, _filed),
    "duplicate": (STORAGE, _duplicate),
    "offered_again": (STORAGE, _offered_again),
    "over_quota": (STORAGE, _over_quota),
    "gone": (STORAGE, _gone),
    "forwarded": (STORAGE, _forwarded),
    "announced": (IMAP, _announced),
    "queued": (STORAGE, _queued),
    "attempt": (DELIVERY, _attempt),
    **dict.fromkeys(("delivered", "deferred", "failed"), (DELIVERY, _outcome)),
    "notice": (STORAGE, _notice),
    "written": (STORAGE, _written),
    "untold": (STORAGE, _untold),
    "suppressed": (STORAGE, _suppressed),
    **dict.fromkeys(("held", "released", "retried", "rerouted", "removed"), (STORAGE, _steered)),
}
_PHASE_NAMES = {"tls": "TLS", "mail": "MAIL", "data": "DATA"}


def _spent(phases: Mapping[str, int]) -> str:
    return ", ".join(f"{_PHASE_NAMES.get(name, name)} {ms} ms" for name, ms in phases.items())


def _whom(details: Event) -> str:
    return str(details["recipient"] if "recipient" in details else details["via"])


def _path(address: str) -> str:
    return f"<{address.removeprefix('<').removesuffix('>')}>"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
