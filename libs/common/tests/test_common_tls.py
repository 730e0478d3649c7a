"""Certificates: chosen by name, renewed under open sessions, never replaced by something broken."""

import asyncio
import datetime
import ssl
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from mailboat_common import metrics
from mailboat_common.errors import StartupError
from mailboat_common.tls import CertificateStore


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


def put(
    ca: trustme.CA, folder: Path, *names: str, stem: str = "tls", not_after: datetime.datetime | None = None
) -> trustme.LeafCert:
    """Writes a pair the way a careful renewal does: complete files, swapped in."""
    folder.mkdir(parents=True, exist_ok=True)
    pair = ca.issue_cert(*names, not_after=not_after)
    for suffix, content in (
        (".key", pair.private_key_pem.bytes()),
        (".crt", b"".join(blob.bytes() for blob in pair.cert_chain_pems)),
    ):
        fresh = folder / (stem + suffix + ".new")
        fresh.write_bytes(content)
        fresh.replace(folder / (stem + suffix))
    return pair


class Session:
    """A TLS session between a client and the store's context, in memory."""

    def __init__(self, ca: trustme.CA, store: CertificateStore, name: str | None, *, verify: bool = True) -> None:
        context = ssl.create_default_context()
        ca.configure_trust(context)
        context.check_hostname = verify and name is not None
        if not verify:
            context.verify_mode = ssl.CERT_NONE
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = context.wrap_bio(to_client, to_server, server_hostname=name)
        self.server = store.server_context().wrap_bio(to_server, to_client, server_side=True)
        done = 0
        while done < 2:
            done = 0
            for side in (self.client, self.server):
                try:
                    side.do_handshake()
                    done += 1
                except ssl.SSLWantReadError:
                    continue

    def names(self) -> set[str]:
        certificate = self.client.getpeercert(binary_form=True)
        assert certificate is not None
        parsed = x509.load_der_x509_certificate(certificate)
        names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return set(names.get_values_for_type(x509.DNSName))

    def serial(self) -> int:
        certificate = self.client.getpeercert(binary_form=True)
        assert certificate is not None
        return x509.load_der_x509_certificate(certificate).serial_number

    def echo(self) -> bytes:
        self.client.write(b"ping")
        self.server.write(self.server.read(10))
        return self.client.read(10)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("mail.one.test", "mail.one.test"),
        ("MAIL.one.test", "mail.one.test"),
        ("imap.two.test", "*.two.test"),
        ("deep.imap.two.test", "mail.one.test"),  # a wildcard is one label: the default
        ("two.test", "two.test"),
        ("unknown.test", "mail.one.test"),
        (None, "mail.one.test"),
    ],
)
def test_choice_by_server_name(ca: trustme.CA, tmp_path: Path, asked: str | None, expected: str) -> None:
    put(ca, tmp_path / "a", "mail.one.test")
    put(ca, tmp_path / "b", "*.two.test", "two.test")
    put(ca, tmp_path, "other.test", stem="zzz")
    store = CertificateStore(tmp_path)
    assert expected in Session(ca, store, asked, verify=False).names()


def test_layouts(ca: trustme.CA, tmp_path: Path) -> None:
    put(ca, tmp_path, "one.test", stem="one.example")
    put(ca, tmp_path / "letsencrypt", "two.test")
    (tmp_path / "letsencrypt" / "tls.crt").rename(tmp_path / "letsencrypt" / "cert.pem")
    (tmp_path / "letsencrypt" / "tls.key").rename(tmp_path / "letsencrypt" / "key.pem")
    # A mounted secret: tls.crt → ..data/tls.crt, ..data → ..2026_01_01
    put(ca, tmp_path / "secret" / "..2026_01_01", "three.test")
    (tmp_path / "secret" / "..data").symlink_to("..2026_01_01")
    for name in ("tls.crt", "tls.key"):
        (tmp_path / "secret" / name).symlink_to(f"..data/{name}")
    store = CertificateStore(tmp_path)
    assert [pair.name for pair in store.pairs] == ["letsencrypt/cert", "one.example", "secret/tls"]

    put(ca, tmp_path / "secret" / "..2026_02_02", "four.test")
    (tmp_path / "secret" / "..new").symlink_to("..2026_02_02")
    (tmp_path / "secret" / "..new").replace(tmp_path / "secret" / "..data")
    assert store.reload() == []
    assert Session(ca, store, "four.test").names() == {"four.test"}


def test_reload_leaves_open_sessions_alone(ca: trustme.CA, tmp_path: Path) -> None:
    put(ca, tmp_path, "mail.test")
    store = CertificateStore(tmp_path)
    context = store.server_context()
    before = Session(ca, store, "mail.test")
    put(ca, tmp_path, "mail.test")
    assert store.reload() == []
    after = Session(ca, store, "mail.test")
    assert store.server_context() is context
    assert before.serial() != after.serial()
    assert before.echo() == after.echo() == b"ping"


def test_a_broken_pair_keeps_the_old_one_and_a_repaired_one_is_taken(ca: trustme.CA, tmp_path: Path) -> None:
    put(ca, tmp_path, "mail.test")
    store = CertificateStore(tmp_path)
    serial = Session(ca, store, "mail.test").serial()
    failures = metrics.tls_reload_failures._value.get()

    (tmp_path / "tls.crt").write_text("-----BEGIN CERTIFICATE-----\nbroken\n")
    assert len(store.reload()) == 1
    assert store.reload() == [], "told once, not every five seconds"
    assert metrics.tls_reload_failures._value.get() == failures + 1
    assert Session(ca, store, "mail.test").serial() == serial

    other = ca.issue_cert("mail.test")
    (tmp_path / "tls.crt").write_bytes(other.cert_chain_pems[0].bytes())
    assert len(store.reload()) == 1, "the certificate of another key"
    assert Session(ca, store, "mail.test").serial() == serial

    other.private_key_pem.write_to_path(tmp_path / "tls.key")
    assert store.reload() == []
    assert Session(ca, store, "mail.test").serial() != serial


def test_pairs_come_and_go_but_the_last_stays(ca: trustme.CA, tmp_path: Path) -> None:
    put(ca, tmp_path / "a", "one.test")
    store = CertificateStore(tmp_path)
    put(ca, tmp_path / "b", "two.test")
    store.reload()
    assert Session(ca, store, "two.test").names() == {"two.test"}
    for name in ("tls.crt", "tls.key"):
        (tmp_path / "a" / name).unlink()
    store.reload()
    assert [pair.name for pair in store.pairs] == ["b/tls"]
    assert b'certificate="a/tls"' not in metrics.exposition()
    (tmp_path / "b" / "tls.crt").unlink()
    store.reload()
    assert Session(ca, store, "two.test").names() == {"two.test"}


def test_of_two_pairs_for_a_name_the_later_one_is_used(ca: trustme.CA, tmp_path: Path) -> None:
    now = datetime.datetime.now(datetime.UTC)
    put(ca, tmp_path / "a", "mail.test", not_after=now + datetime.timedelta(days=1))
    put(ca, tmp_path / "b", "mail.test", not_after=now + datetime.timedelta(days=60))
    store = CertificateStore(tmp_path)
    assert Session(ca, store, "mail.test").server.context is store.pairs[1].context


def test_the_metric_shows_an_expired_certificate(ca: trustme.CA, tmp_path: Path) -> None:
    expired = datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC)
    put(ca, tmp_path, "mail.test", stem="expired", not_after=expired)
    store = CertificateStore(tmp_path)
    assert store.pairs[0].not_after == expired.timestamp()
    (line,) = [
        line
        for line in metrics.exposition().decode().splitlines()
        if line.startswith("mailboat_tls_certificate_not_after_timestamp_seconds{") and '"expired"' in line
    ]
    assert float(line.split()[1]) == expired.timestamp()


def test_old_protocols_are_refused(ca: trustme.CA, tmp_path: Path) -> None:
    put(ca, tmp_path, "mail.test")
    assert CertificateStore(tmp_path).server_context().minimum_version == ssl.TLSVersion.TLSv1_2


def test_no_usable_pair_is_told_at_start(ca: trustme.CA, tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"no usable certificate in .* \(MB_TLS_DIR\)"):
        CertificateStore(tmp_path)
    (tmp_path / "tls.crt").write_text("nonsense")
    (tmp_path / "tls.key").write_text("nonsense")
    with pytest.raises(StartupError, match="tls: "):
        CertificateStore(tmp_path)


def test_an_encrypted_key_fails_instead_of_asking(ca: trustme.CA, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    pair = put(ca, tmp_path, "mail.test")
    key = serialization.load_pem_private_key(pair.private_key_pem.bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"password"),
    )
    (tmp_path / "tls.key").write_bytes(locked)
    with pytest.raises(StartupError):
        CertificateStore(tmp_path)


def test_an_unreadable_directory_keeps_what_is_loaded(ca: trustme.CA, tmp_path: Path) -> None:
    folder = tmp_path / "pairs"
    put(ca, folder, "mail.test")
    store = CertificateStore(folder)
    folder.rename(tmp_path / "away")
    assert store.reload() == []
    assert Session(ca, store, "mail.test").names() == {"mail.test"}


async def test_the_watcher_takes_a_renewed_pair(ca: trustme.CA, tmp_path: Path) -> None:
    put(ca, tmp_path, "mail.test")
    store = CertificateStore(tmp_path, reload_seconds=0.01)
    serial = Session(ca, store, "mail.test").serial()
    watching = asyncio.create_task(store.watch())
    put(ca, tmp_path, "mail.test")
    async with asyncio.timeout(10):
        while Session(ca, store, "mail.test").serial() == serial:  # noqa: ASYNC110 - seen only by a handshake
            await asyncio.sleep(0.01)
    watching.cancel()
