"""IMAP gateway: 143 with STARTTLS, 993 over TLS. Speaks to storage_api, listens to the news of mailboxes."""

from mailboat_common.bus import Bus
from mailboat_common.config import SecretFile, load
from mailboat_common.lifecycle import Lifecycle, run
from mailboat_common.server import Admission, ConnectionLimits, Listener, ProtocolServer, TlsMode
from mailboat_common.tls import CertificateStore
from mailboat_store_client.events import MailboxEvents
from mailboat_store_client.http import HttpStore

from . import capabilities
from .commands import load as commands
from .connection import ImapConnection
from .gateway import Gateway
from .settings import Settings
from .views import Views

REFUSAL = b"* BYE [LIMIT] Too many connections, try again later\r\n"

__all__ = ["build_server", "commands", "main"]


def listeners(settings: Settings) -> list[Listener]:
    """The ports that are switched on."""
    table = [
        ("imap", settings.imap_port, TlsMode.STARTTLS, False, "MB_IMAP_PORT"),
        ("imaps", settings.imaps_port, TlsMode.IMPLICIT, False, "MB_IMAPS_PORT"),
        ("imap", settings.imap_proxy_port, TlsMode.STARTTLS, True, "MB_IMAP_PROXY_PORT"),
        ("imaps", settings.imaps_proxy_port, TlsMode.IMPLICIT, True, "MB_IMAPS_PROXY_PORT"),
    ]
    return [Listener("imap", port, tls, proxy, name, setting) for name, port, tls, proxy, setting in table if port]


def build_server(settings: Settings, gateway: Gateway, certificates: CertificateStore) -> ProtocolServer:
    """All listeners; each connection gets a session of the gateway."""

    def connect(admission: Admission) -> ImapConnection:
        return ImapConnection(gateway, admission, certificates)

    return ProtocolServer(
        listeners(settings),
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
        capabilities.check()
        certificates = CertificateStore(settings.tls_dir)
        life.spawn(certificates.watch(), "certificates")
        store = HttpStore(settings.storage_url, SecretFile(settings.internal_token_file).text)
        await store.start()
        life.on_close(store.close)
        life.add_check("storage", lambda: store.up)

        bus = Bus(settings.amqp_url, "imap_gateway")
        views = Views(store.read, settings.policy())
        news = MailboxEvents(bus, views.on_news, views.poll_now)
        gateway = Gateway(store, news, views, settings.policy())
        life.spawn(bus.run(), "bus")
        life.on_close(bus.close)
        life.spawn(views.keep_polling(lambda: news.connected), "poll")

        server = build_server(settings, gateway, certificates)
        await server.start()
        life.on_drain(server.drain)
        life.on_close(server.abort)

    run("imap_gateway", settings, start)


if __name__ == "__main__":
    main()
