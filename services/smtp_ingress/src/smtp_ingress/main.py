"""SMTP ingress: reception on 25, submission on 587 and 465. Speaks to storage_api only."""

from mailboat_common.config import load
from mailboat_common.edge import edge_server, serve_for_life, watched_certificates
from mailboat_common.lifecycle import Lifecycle, run
from mailboat_common.server import Admission, ProtocolServer, TlsMode
from mailboat_common.tls import CertificateStore
from mailboat_store_client.http import open_store

from .aiosmtpd_session import AiosmtpdSession
from .session import Service
from .settings import Settings

LISTENERS = {"smtp": TlsMode.STARTTLS, "submission": TlsMode.STARTTLS, "submissions": TlsMode.IMPLICIT}
REFUSAL = b"421 4.7.0 Too many connections, try again later\r\n"


def build_server(
    settings: Settings, service: Service, certificates: CertificateStore, *, any_port: bool = False
) -> ProtocolServer:
    """All listeners; each connection gets a session."""
    context = certificates.server_context()

    def connect(admission: Admission) -> AiosmtpdSession:
        return AiosmtpdSession(service, admission, context)

    return edge_server(
        settings, "smtp", LISTENERS, connect, refusal=REFUSAL, certificates=certificates, any_port=any_port
    )


def main() -> None:
    """The process."""
    settings = load(Settings)

    async def start(life: Lifecycle) -> None:
        certificates = watched_certificates(life, settings)
        store = await open_store(life, settings)
        await serve_for_life(life, build_server(settings, Service(settings, store), certificates))

    run("smtp_ingress", settings, start)
