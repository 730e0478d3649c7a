"""POP3 gateway: 110 with STLS, 995 over TLS. Speaks to storage_api only."""

from mailboat_common.config import SecretFile, load
from mailboat_common.lifecycle import Lifecycle, run
from mailboat_common.server import Admission, ConnectionLimits, Listener, ProtocolServer, TlsMode
from mailboat_common.tls import CertificateStore
from mailboat_store_client.http import HttpStore

from .connection import Pop3Connection
from .gateway import Gateway
from .settings import Settings

REFUSAL = b"-ERR [SYS/TEMP] Too many connections, try again later\r\n"


def listeners(settings: Settings, *, any_port: bool = False) -> list[Listener]:
    """The ports that are switched on; with `any_port` each on a free one, for tests."""
    table = [
        ("pop3", settings.pop3_port, TlsMode.STARTTLS, False, "MB_POP3_PORT"),
        ("pop3s", settings.pop3s_port, TlsMode.IMPLICIT, False, "MB_POP3S_PORT"),
        ("pop3", settings.pop3_proxy_port, TlsMode.STARTTLS, True, "MB_POP3_PROXY_PORT"),
        ("pop3s", settings.pop3s_proxy_port, TlsMode.IMPLICIT, True, "MB_POP3S_PROXY_PORT"),
    ]
    return [
        Listener("pop3", 0 if any_port else port, tls, proxy, name, setting)
        for name, port, tls, proxy, setting in table
        if port
    ]


def build_server(gateway: Gateway, certificates: CertificateStore, *, any_port: bool = False) -> ProtocolServer:
    """All listeners; each connection gets a session."""
    settings = gateway.settings

    def connect(admission: Admission) -> Pop3Connection:
        return Pop3Connection(admission, gateway)

    limits = ConnectionLimits(settings.connections_per_address, settings.connections_total, settings.exempt_networks)
    return ProtocolServer(
        listeners(settings, any_port=any_port),
        connect,
        refusal=REFUSAL,
        host=settings.listen_host,
        tls=certificates,
        limits=limits,
        proxy_networks=settings.proxy_networks,
    )


async def serve(
    life: Lifecycle, gateway: Gateway, certificates: CertificateStore, *, any_port: bool = False
) -> ProtocolServer:
    """Open the ports, and say how they end. The store's own end must be registered before."""
    server = build_server(gateway, certificates, any_port=any_port)
    await server.start()
    life.on_drain(server.drain)
    life.on_close(gateway.finish)  # runs before the store is closed and after the last connection is
    life.on_close(server.abort)
    return server


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
        await serve(life, Gateway(settings, store, certificates.server_context()), certificates)

    run("pop3_gateway", settings, start)


if __name__ == "__main__":
    main()
