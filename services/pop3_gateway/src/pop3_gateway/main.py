"""POP3 gateway: 110 with STLS, 995 over TLS. Speaks to storage_api only."""

from mailboat_common.config import load
from mailboat_common.edge import edge_server, serve_for_life, watched_certificates
from mailboat_common.lifecycle import Lifecycle, run
from mailboat_common.server import Admission, ProtocolServer, TlsMode
from mailboat_common.tls import CertificateStore
from mailboat_store_client.http import open_store

from .connection import Pop3Connection
from .gateway import Gateway
from .settings import Settings

LISTENERS = {"pop3": TlsMode.STARTTLS, "pop3s": TlsMode.IMPLICIT}
REFUSAL = b"-ERR [SYS/TEMP] Too many connections, try again later\r\n"


def build_server(gateway: Gateway, certificates: CertificateStore, *, any_port: bool = False) -> ProtocolServer:
    """All listeners; each connection gets a session."""

    def connect(admission: Admission) -> Pop3Connection:
        return Pop3Connection(admission, gateway)

    return edge_server(
        gateway.settings, "pop3", LISTENERS, connect, refusal=REFUSAL, certificates=certificates, any_port=any_port
    )


async def serve(
    life: Lifecycle, gateway: Gateway, certificates: CertificateStore, *, any_port: bool = False
) -> ProtocolServer:
    """Open the ports, and say how they end. The store's own end must be registered before."""
    server = build_server(gateway, certificates, any_port=any_port)
    life.on_close(gateway.finish)  # runs before the store is closed and after the last connection is
    await serve_for_life(life, server)
    return server


def main() -> None:
    """The process."""
    settings = load(Settings)

    async def start(life: Lifecycle) -> None:
        certificates = watched_certificates(life, settings)
        store = await open_store(life, settings)
        await serve(life, Gateway(settings, store, certificates.server_context()), certificates)

    run("pop3_gateway", settings, start)
