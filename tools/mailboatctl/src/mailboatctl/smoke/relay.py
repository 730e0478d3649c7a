"""That the platform is no open relay: it takes nothing for others from strangers. No message is ever sent here."""

from __future__ import annotations

import itertools
import smtplib
import ssl
import time

from mailboatctl.errors import CheckFailed
from mailboatctl.smoke.endpoint import Endpoint
from mailboatctl.smoke.faults import text
from mailboatctl.smoke.mail import OUTSIDER, session

FOREIGN = "nobody@somewhere-else.example"
POLL_SECONDS = 0.25


def refused_by_reception(endpoint: Endpoint, timeout: float) -> str:
    """The 5xx reply to a recipient of a foreign domain. Raises CheckFailed for any other, OSError."""
    with session(endpoint, None, timeout) as smtp:
        _mail(smtp)
        code, reply = smtp.rcpt(FOREIGN)
    if not _refused(code):
        raise CheckFailed(f"RCPT TO:<{FOREIGN}> must be refused (5xx), but was answered with {code} {text(reply)}")
    return f"{code} {text(reply)}"


def refused_by_submission(endpoint: Endpoint, tls: ssl.SSLContext, timeout: float) -> str:
    """The 530 reply (RFC 4954 6) to MAIL without a login. Raises CheckFailed for any other, OSError."""
    with session(endpoint, tls, timeout) as smtp:
        code, reply = smtp.mail(OUTSIDER)
    if code != 530:
        raise CheckFailed(f"MAIL without AUTH must be refused (530), but was answered with {code} {text(reply)}")
    return f"{code} {text(reply)}"


def wait_until_refused(endpoint: Endpoint, address: str, seconds: float) -> str:
    """The 5xx reply to an address whose account is gone. Raises CheckFailed if it doesn't come in time, OSError.

    A server may believe for a moment what it knew of an address. Each question is about another plus-address of the
    account (RFC 5233), of which it can't have known anything.
    """
    local, _, domain = address.rpartition("@")
    deadline = time.monotonic() + seconds
    with session(endpoint, None, seconds) as smtp:
        _mail(smtp)
        for number in itertools.count():
            code, reply = smtp.rcpt(f"{local}+gone{number}@{domain}")
            if _refused(code):
                break
            if time.monotonic() > deadline:
                raise CheckFailed(f"mail for {address} is still answered with {code} {text(reply)}")
            time.sleep(POLL_SECONDS)
    return f"{code} {text(reply)}"


def _mail(smtp: smtplib.SMTP) -> None:
    code, reply = smtp.mail(OUTSIDER)
    if code != 250:
        raise CheckFailed(f"MAIL from outside was answered with {code} {text(reply)}")


def _refused(code: int) -> bool:
    return 500 <= code <= 599
