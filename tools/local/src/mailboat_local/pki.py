"""The stack's certificate authority and its server certificate, made once and renewed before they expire."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import trustme
from cryptography import x509

from mailboat_local.layout import Layout
from mailboat_local.process import write_private

SERVER_DAYS = 397  # the longest that mail clients of every vendor accept
RENEW_BEFORE = timedelta(days=30)
NAMES = ("localhost", "127.0.0.1", "::1")


def ensure(layout: Layout, hostname: str) -> None:
    """Make what is missing: ``ca.pem`` (for clients to trust), ``ca.key``, and the server's pair in ``server/``."""
    authority = _authority(layout)
    certificate, key = layout.server_tls / "tls.crt", layout.server_tls / "tls.key"
    names = dict.fromkeys((hostname, *NAMES))
    if certificate.exists() and key.exists() and _still_good(certificate.read_bytes(), layout.ca.read_bytes(), names):
        return
    now = datetime.now(UTC)
    leaf = authority.issue_cert(
        *names, common_name=hostname, organization_name="Mailboat on one machine",
        not_before=now - timedelta(hours=1), not_after=now + timedelta(days=SERVER_DAYS),
    )  # fmt: skip
    write_private(key, leaf.private_key_pem.bytes().decode())
    write_private(certificate, b"".join(blob.bytes() for blob in leaf.cert_chain_pems).decode(), mode=0o644)


def _authority(layout: Layout) -> trustme.CA:
    key = layout.tls / "ca.key"
    if layout.ca.exists() and key.exists():
        return trustme.CA.from_pem(layout.ca.read_bytes(), key.read_bytes())
    authority = trustme.CA(organization_name="Mailboat on one machine", organization_unit_name="local authority")
    write_private(key, authority.private_key_pem.bytes().decode())
    write_private(layout.ca, authority.cert_pem.bytes().decode(), mode=0o644)
    return authority


def _still_good(certificate: bytes, authority: bytes, names: dict[str, None]) -> bool:
    leaf, issuer = x509.load_pem_x509_certificate(certificate), x509.load_pem_x509_certificate(authority)
    alternative = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    covered = {str(name.value) for name in alternative}
    return (
        leaf.not_valid_after_utc - datetime.now(UTC) > RENEW_BEFORE
        and leaf.issuer == issuer.subject
        and covered >= names.keys()
    )
