"""What the tests of the smoke test share: an authority of their own, and servers that follow a script."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import pytest
import trustme

Script = list[tuple[bytes, bytes]]
"""What the server expects (b"" for nothing: its greeting) and what it answers."""
START_TLS = b"<TLS>"
"""As the answer's end: TLS begins behind it."""
Serve = Callable[..., AbstractContextManager[int]]


@dataclass(frozen=True, slots=True)
class Authority:
    """TLS for a server named localhost, and for clients who trust it."""

    server: ssl.SSLContext
    client: ssl.SSLContext


@pytest.fixture(scope="session")
def tls() -> Authority:
    ca = trustme.CA()
    made = Authority(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context())
    ca.issue_cert("localhost").configure_cert(made.server)
    ca.configure_trust(made.client)
    return made


@pytest.fixture
def serve(tls: Authority) -> Serve:
    """`with serve(script, implicit_tls=False) as port`: a server for one connection. The script must be followed."""

    @contextlib.contextmanager
    def serving(script: Script, *, implicit_tls: bool = False) -> Iterator[int]:
        failures: list[str] = []

        def follow(connection: socket.socket) -> None:
            if implicit_tls:
                connection = tls.server.wrap_socket(connection, server_side=True)
            reader = connection.makefile("rb")
            for expected, answer in script:
                line = reader.readline() if expected else b""
                if line != expected:
                    failures.append(f"expected {expected!r}, got {line!r}")
                    break
                connection.sendall(answer.removesuffix(START_TLS))
                if answer.endswith(START_TLS):
                    connection = tls.server.wrap_socket(connection, server_side=True)
                    reader = connection.makefile("rb")
            reader.close()
            connection.close()

        def accept(listener: socket.socket) -> None:
            connection, _ = listener.accept()
            with contextlib.suppress(OSError):  # the client has had enough: its test says whether it may
                follow(connection)

        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=accept, args=(listener,))
            thread.start()
            yield listener.getsockname()[1]
            thread.join(10)
        assert failures == []

    return serving
