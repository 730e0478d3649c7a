"""A message that is hard to carry unchanged, how it is sent (RFC 5321, RFC 6409), and what counts as the same bytes."""

from __future__ import annotations

import contextlib
import hashlib
import re
import smtplib
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, localtime, make_msgid

from mailboatctl.errors import CheckFailed
from mailboatctl.smoke.endpoint import Endpoint
from mailboatctl.smoke.faults import text

TRACE_ID = re.compile(r"\b[0-9a-hjkmnp-tv-z]{26}\b")
OUTSIDER = "carol@elsewhere.example"
CLIENT_NAME = "client.elsewhere.example"  # given, so that nobody's resolver is asked for this machine's name
TRACE_FIELDS = frozenset({b"received", b"return-path", b"delivered-to", b"authentication-results", b"dkim-signature"})
_WIRE = SMTP.clone(max_line_length=78)


@dataclass(frozen=True, slots=True)
class Sent:
    """A message the server has answered with 250; ``accepted_at`` (monotonic) is when that was read."""

    content: bytes
    reply: str
    accepted_at: float

    @property
    def trace_id(self) -> str:
        """The id the platform follows the message by. Raises CheckFailed if the reply has none."""
        found = TRACE_ID.search(self.reply)
        if found is None:
            raise CheckFailed(f"the server's answer names no trace id: {self.reply}")
        return found[0]


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


def send(
    endpoint: Endpoint,
    tls: ssl.SSLContext,
    sender: str,
    recipient: str,
    way: str,
    *,
    login: tuple[str, str] | None = None,
    timeout: float = 60.0,
) -> Sent:
    """Send a new message over STARTTLS, logged in with (user, password) if given.

    Raises CheckFailed if it isn't answered with 250, OSError (of which smtplib's exceptions are) if the connection
    fails. ``timeout`` (seconds) is for each answer.
    """
    content = message(sender, recipient, way).as_bytes(policy=_WIRE)
    with session(endpoint, tls, timeout) as smtp:
        if login is not None:
            smtp.login(*login)
        code, reply = _transaction(smtp, sender, recipient, content)
        accepted_at = time.monotonic()
    if code != 250:
        raise CheckFailed(f"the server answered {code} {text(reply)}")
    return Sent(content, text(reply), accepted_at)


@contextlib.contextmanager
def session(endpoint: Endpoint, tls: ssl.SSLContext | None, timeout: float) -> Iterator[smtplib.SMTP]:
    """An SMTP session with EHLO done, over verified STARTTLS unless ``tls`` is None. QUIT follows if all went well."""
    smtp = smtplib.SMTP(endpoint.host, endpoint.port, local_hostname=CLIENT_NAME, timeout=timeout)
    try:
        if tls is not None:
            smtp.starttls(context=tls)
        smtp.ehlo_or_helo_if_needed()
        yield smtp
        smtp.quit()
    finally:
        smtp.close()


def _transaction(smtp: smtplib.SMTP, sender: str, recipient: str, content: bytes) -> tuple[int, bytes]:
    code, reply = smtp.mail(sender, [f"SIZE={len(content)}", "BODY=8BITMIME"])
    if code == 250:
        code, reply = smtp.rcpt(recipient)
    return smtp.data(content) if code == 250 else (code, reply)


def compare(sent: bytes, fetched: bytes) -> None:
    """The fetched message is the sent one below trace headers of the servers it has passed. Raises CheckFailed."""
    added, found, rest = fetched.partition(sent)
    if not found or rest:
        raise CheckFailed(
            f"what was fetched ({len(fetched)} bytes, sha256 {hashlib.sha256(fetched).hexdigest()[:16]}) does not end "
            f"with what was sent ({len(sent)} bytes, sha256 {hashlib.sha256(sent).hexdigest()[:16]})"
        )
    names = {line.partition(b":")[0].lower() for line in added.split(b"\r\n") if line and line[:1] not in b" \t"}
    if unexpected := names - TRACE_FIELDS:
        shown = ", ".join(sorted(name.decode(errors="replace") for name in unexpected))
        raise CheckFailed(f"the server added headers that nobody asked for: {shown}")
