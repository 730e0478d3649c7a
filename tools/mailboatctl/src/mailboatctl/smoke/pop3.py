"""A whole mailbox over POP3 (RFC 1939) with TLS from the first octet (RFC 8314 3.3)."""

from __future__ import annotations

import contextlib
import poplib
import ssl

from mailboatctl.smoke.endpoint import Endpoint


def read_all(endpoint: Endpoint, tls: ssl.SSLContext, login: tuple[str, str], timeout: float) -> list[bytes]:
    """Every message, oldest first. Raises poplib.error_proto if the server refuses, OSError if the connection fails.

    The messages stay in the mailbox.
    """
    client = poplib.POP3_SSL(endpoint.host, endpoint.port, context=tls, timeout=timeout)
    with contextlib.closing(client):
        user, password = login
        client.user(user)
        client.pass_(password)
        count, _ = client.stat()
        contents = [b"".join(line + b"\r\n" for line in client.retr(number)[1]) for number in range(1, count + 1)]
        client.quit()
        return contents
