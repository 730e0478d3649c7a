"""What a notice says to a person: what happened, what the server said, what to do.

Plain English, 76 columns, nothing of a remote server's words outside of indented lines. Pure.
"""

from __future__ import annotations

import textwrap
from datetime import UTC, datetime
from email.utils import format_datetime

from mailboat_mime import decode_words, first_value

from .notices import Action, NoticeKind, Plan, Told

WIDTH = 76
MAX_SHOWN = 50
MAX_WORDS = 600
_MAX_SUBJECT = 200

_OPENINGS = {
    NoticeKind.FAILURE: "Your message could not be delivered to {who}. It will not be tried again.",
    NoticeKind.DELAY: "Your message has not been delivered to {who} yet. There is nothing you need to do: it is tried "
    "again until {until}. Please don't send it again.",
    NoticeKind.SUCCESS: "As you asked to be told: this is what became of your message for {who}.",
}
_ADVICE = {
    "5.1.2": "The domain after the @ doesn't exist or takes no mail. Check its spelling.",
    "5.1.10": "The domain after the @ says that it takes no mail at all. Check its spelling.",
    "5.1.7": "The server did not accept your own address as a sender. Ask your postmaster.",
    "5.1.8": "The server did not accept your own address as a sender. Ask your postmaster.",
    "5.1": "There is no such address. Check its spelling, or ask the recipient for the right one; sending again to "
    "this one won't help.",
    "5.2.1": "The mailbox takes no mail at present. Reach the recipient in another way.",
    "5.2.2": "The recipient's mailbox is full. Try again later, or reach the recipient in another way.",
    "5.2.3": "The message is too large for this recipient. Send a smaller one, or a link to the file.",
    "5.3.4": "The message is too large for the server. Send a smaller one, or a link to the file.",
    "5.4.6": "The message went round in circles between servers. The recipient's postmaster has to repair that.",
    "5.6.7": "The server can't take addresses with letters outside of ASCII. Ask the recipient for another address.",
    "5.6": "The server can't take this kind of message. Send its content in another form.",
    "5.7": "The server refuses this message by its rules. What it said tells why; its postmaster can help.",
    "5": "The server refuses this message for good. What it said tells why.",
    "4": "If the message still matters, send it again later, or reach the recipient in another way.",
}


def text_of(plan: Plan, hostname: str) -> str:
    """The human-readable part, with LF line ends; holds letters outside of ASCII only if addresses or words do."""
    paragraphs = [f"This is the mail server {hostname}.", _wrap(_opening(plan))]
    for told in plan.told[:MAX_SHOWN]:
        paragraphs += _about(told)
    if len(plan.told) > MAX_SHOWN:
        paragraphs.append(f"{len(plan.told) - MAX_SHOWN} more recipients are listed in the attached report.")
    paragraphs.append(_which(plan))
    return "\n\n".join(paragraphs) + "\n"


def subject_of(plan: Plan) -> str:
    """ASCII, short."""
    what = {
        NoticeKind.FAILURE: "Not delivered",
        NoticeKind.DELAY: "Delayed",
        NoticeKind.SUCCESS: "Sent on",
    }[plan.kind]
    if all(told.action is Action.DELIVERED for told in plan.told):
        what = "Delivered"
    first = plain(plan.told[0].recipient.address, 64)
    if len(plan.told) == 1 and first.isascii() and len(plan.told[0].recipient.address) <= 64:
        return f"{what}: your message to {first}"
    return f"{what}: your message to {len(plan.told)} recipients" if len(plan.told) > 1 else f"{what}: your message"


def plain(text: str, limit: int) -> str:
    """Text of others as one line of printable characters, at most `limit` of them."""
    if len(text) > 4 * limit:
        text = text[: 4 * limit]
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def _opening(plan: Plan) -> str:
    who = "this recipient" if len(plan.told) == 1 else f"{len(plan.told)} recipients"
    return _OPENINGS[plan.kind].format(who=who, until=_date(plan.message.expires_at))


def _about(told: Told) -> list[str]:
    recipient = told.recipient
    paragraphs = [f"  <{plain(recipient.address, 320)}>"]
    if told.action is Action.DELIVERED and recipient.expanded_to:
        text = "The address is a list, which has the message. You won't be told about each of its members."
        return [*paragraphs, _wrap(text, "    ")]
    if told.action is Action.DELIVERED:
        return [*paragraphs, _wrap("The message is in the recipient's mailbox.", "    ")]
    if told.action is Action.EXPANDED:
        text = "The address stands for several; the message goes on to them. You won't be told about each of them."
        return [*paragraphs, _wrap(text, "    ")]
    host = plain(recipient.host, 300)
    if told.action is Action.RELAYED:
        text = f"The message was handed to {host or 'the next server'}, which doesn't tell of deliveries."
        return [*paragraphs, _wrap(text + " You will hear no more of it unless it fails there.", "    ")]
    if recipient.reply:
        said = f"{host} said:" if host else "The server said:"
        words = _wrap(plain(recipient.reply, MAX_WORDS), "      ")
        paragraphs.append(_wrap(said, "    ") + "\n" + words)
    elif recipient.reason:
        paragraphs.append(_wrap(plain(recipient.reason, MAX_WORDS) + (f" ({host})" if host else ""), "    "))
    if recipient.expired:
        paragraphs.append(_wrap("It was tried again and again until its time was up.", "    "))
    if told.action is Action.FAILED:
        paragraphs.append(_wrap(_advice(told.status), "    "))
    return paragraphs


def _advice(status: str) -> str:
    for key in (status, status.rpartition(".")[0], status[:1]):
        if key in _ADVICE:
            return _ADVICE[key]
    return _ADVICE["5"]


def _which(plan: Plan) -> str:
    message = plan.message
    lines = ["The message in question:", ""]
    subject = first_value(message.header, b"Subject")
    if subject is not None:
        lines.append(_wrap(f"Subject: {plain(decode_words(subject), _MAX_SUBJECT)}", "  "))
    lines.append(f"  Accepted: {_date(message.created_at)}")
    lines.append(f"  Trace id: {message.trace_id} (name it if you ask your postmaster)")
    return "\n".join(lines)


def _date(ms: int) -> str:
    return format_datetime(datetime.fromtimestamp(ms // 1000, UTC))


def _wrap(text: str, indent: str = "") -> str:
    return textwrap.fill(text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
