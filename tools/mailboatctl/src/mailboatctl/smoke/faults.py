"""Faults of connections as texts for a person: which server, and what went wrong there."""

from __future__ import annotations

import contextlib
import poplib
import smtplib
import socket
import ssl
from collections.abc import Iterator

from mailboatctl.errors import CheckFailed
from mailboatctl.smoke.endpoint import Endpoint
from mailboatctl.smoke.interrupts import TooLate


@contextlib.contextmanager
def explained(protocol: str, endpoint: Endpoint) -> Iterator[None]:
    """What fails inside becomes a CheckFailed that begins with the protocol and the server."""
    try:
        yield
    except (CheckFailed, TooLate) as error:
        raise CheckFailed(f"{protocol} at {endpoint}: {error}") from error
    except (OSError, poplib.error_proto) as error:
        raise CheckFailed(f"{protocol} at {endpoint}: {describe(error)}") from error


def describe(error: Exception) -> str:
    """A connection's fault in a few words."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"TLS: the server's certificate can't be verified: {error.verify_message}"
        case ssl.SSLError():
            return f"TLS: {error.reason or error}"
        case smtplib.SMTPResponseException():
            return f"the server answered {error.smtp_code} {text(error.smtp_error)}"
        case poplib.error_proto():
            return f"the server answered {text(error.args[0])}"
        case socket.gaierror():
            return f"the name can't be resolved: {error.strerror}"
        case ConnectionRefusedError():
            return "nothing listens there"
        case TimeoutError():
            return "no answer in time"
        case OSError():
            return error.strerror or str(error) or type(error).__name__
    return str(error)


def text(reply: bytes | str) -> str:
    """A server's reply on one line."""
    decoded = reply.decode(errors="replace") if isinstance(reply, bytes) else reply
    return " ".join(decoded.split())
