"""Certificates and credentials are made once, kept, and readable by nobody else."""

import json
import socket
import ssl
import threading
from pathlib import Path

import pytest
from mailboat_local import credentials, pki
from mailboat_local.layout import CALLERS, Layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path)
    made.create()
    return made


def handshake(layout: Layout, name: str) -> None:
    """A TLS handshake over a socket pair, the client trusting ca.pem only. Raises ssl.SSLError if it doesn't verify."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(layout.server_tls / "tls.crt", layout.server_tls / "tls.key")
    ours, theirs = socket.socketpair()

    def serve() -> None:
        try:
            server.wrap_socket(theirs, server_side=True).close()
        except OSError:
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        ssl.create_default_context(cafile=str(layout.ca)).wrap_socket(ours, server_hostname=name).close()
    finally:
        ours.close()
        thread.join()


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1", "mail.example.test"])
def test_clients_that_trust_the_ca_accept_the_server(layout: Layout, name: str) -> None:
    pki.ensure(layout, "mail.example.test")
    handshake(layout, name)


def test_another_name_is_refused(layout: Layout) -> None:
    pki.ensure(layout, "mail.example.test")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(layout, "elsewhere.example")


def test_certificates_are_kept(layout: Layout) -> None:
    pki.ensure(layout, "mail.example.test")
    before = {path: path.read_bytes() for path in layout.tls.rglob("*") if path.is_file()}
    pki.ensure(layout, "mail.example.test")
    assert {path: path.read_bytes() for path in layout.tls.rglob("*") if path.is_file()} == before
    assert (layout.tls / "ca.key").stat().st_mode & 0o777 == 0o600
    assert (layout.server_tls / "tls.key").stat().st_mode & 0o777 == 0o600


def test_a_new_host_name_gets_a_certificate_of_the_same_authority(layout: Layout) -> None:
    pki.ensure(layout, "mail.example.test")
    authority = layout.ca.read_bytes()
    pki.ensure(layout, "mx.example.test")
    assert layout.ca.read_bytes() == authority
    handshake(layout, "mx.example.test")


def test_credentials_are_made_once(layout: Layout) -> None:
    credentials.ensure(layout, 2080)
    first = credentials.load(layout)
    credentials.ensure(layout, 2080)
    assert credentials.load(layout) == first
    assert first["MB_API_URL"] == "http://127.0.0.1:2080"
    assert len({first["MB_API_TOKEN"], first["DEMO_ALICE_PASSWORD"], first["DEMO_BOB_PASSWORD"]}) == 3
    assert layout.credentials.stat().st_mode & 0o777 == 0o600


def test_each_caller_has_a_token_of_its_own(layout: Layout) -> None:
    credentials.ensure(layout, 2080)
    callers = json.loads((layout.tokens / "callers.json").read_text())
    assert set(callers) == set(CALLERS)
    for name, tokens in callers.items():
        assert tokens == [(layout.tokens / name).read_text().strip()]
    assert len({tokens[0] for tokens in callers.values()}) == len(CALLERS)
