"""SMTP ingress: reception on 25, submission on 587 and 465. Speaks to storage_api only."""

from mailboat_common.config import SecretFile, load
from mailboat_common.lifecycle import Lifecycle, run
from mailboat_common.server import Admission, ConnectionLimits, Listener, ProtocolServer, TlsMode
from mailboat_common.tls import CertificateStore
from mailboat_store_client.http import HttpStore

from .aiosmtpd_session import AiosmtpdSession
from .session import Service
from .settings import Settings

REFUSAL = b"421 4.7.0 Too many connections, try again later\r\n"


def listeners(settings: Settings, *, any_port: bool = False) -> list[Listener]:
    """The ports that are switched on; with `any_port` each on a free one, for tests."""
    table = [
        ("smtp", settings.smtp_port, TlsMode.STARTTLS, False, "MB_SMTP_PORT"),
        ("submission", settings.submission_port, TlsMode.STARTTLS, False, "MB_SUBMISSION_PORT"),
        ("submissions", settings.submissions_port, TlsMode.IMPLICIT, False, "MB_SUBMISSIONS_PORT"),
        ("smtp", settings.smtp_proxy_port, TlsMode.STARTTLS, True, "MB_SMTP_PROXY_PORT"),
        ("submission", settings.submission_proxy_port, TlsMode.STARTTLS, True, "MB_SUBMISSION_PROXY_PORT"),
        ("submissions", settings.submissions_proxy_port, TlsMode.IMPLICIT, True, "MB_SUBMISSIONS_PROXY_PORT"),
    ]
    return [
        Listener("smtp", 0 if any_port else port, tls, proxy, name, setting)
        for name, port, tls, proxy, setting in table
        if port
    ]


def build_server(
    settings: Settings, service: Service, certificates: CertificateStore, *, any_port: bool = False
) -> ProtocolServer:
    """All listeners; each connection gets a session."""
    context = certificates.server_context()

    def connect(admission: Admission) -> AiosmtpdSession:
        return AiosmtpdSession(service, admission, context)

    return ProtocolServer(
        listeners(settings, any_port=any_port),
        connect,
        refusal=REFUSAL,
        host=settings.listen_host,
        tls=certificates,
        limits=ConnectionLimits(settings.connections_per_address, settings.connections_total, settings.exempt_networks),
        proxy_networks=settings.proxy_networks,
    )


def main() -> None:
    """The process."""
    settings = load(Settings)

    async def start(life: Lifecycle) -> None:
        certificates = CertificateStore(settings.tls_dir)
        life.spawn(certificates.watch(), "certificates")
        store = HttpStore(settings.storage_url, SecretFile(settings.internal_token_file).text)
        await store.start()
        life.on_close(store.close)
        life.add_check("storage", lambda: store.up)
        server = build_server(settings, Service(settings, store), certificates)
        await server.start()
        life.on_drain(server.drain)
        life.on_close(server.abort)

    run("smtp_ingress", settings, start)


if __name__ == "__main__":
    main()
