"""TLS towards other servers: which check of the certificate each mode makes.

RFC 3207 (STARTTLS), RFC 7435 (opportunistic security), RFC 8996 (no TLS before 1.2), RFC 9525 (names).

Rules: TLS 1.2 is the least in every mode. Where any certificate will do (MAY, ENCRYPT) so will weak keys, because the
alternative is no encryption or no delivery; a server that knows only older versions is, under MAY, spoken to in the
clear: TLS 1.0 would keep the same passive reader out, but RFC 8996 4 and 5 forbid it. Where the certificate counts
(VERIFY, IMPLICIT, MTA-STS) it must be valid for the host's name under the system's authorities (SSL_CERT_FILE names
others), and the name is always sent (RFC 6066).
"""

from __future__ import annotations

import functools
import ssl

from mailboat_store_client.queue import TlsMode


@functools.cache
def any_certificate() -> ssl.SSLContext:
    """For MAY and ENCRYPT."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("DEFAULT:@SECLEVEL=1")
    return context


@functools.cache
def valid_certificate() -> ssl.SSLContext:
    """For VERIFY, IMPLICIT and policies."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def context_for(mode: TlsMode) -> ssl.SSLContext:
    """The context of a mode with TLS."""
    return valid_certificate() if mode in (TlsMode.VERIFY, TlsMode.IMPLICIT) else any_certificate()
