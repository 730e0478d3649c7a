"""IMAP gateway: 143 with STARTTLS, 993 over TLS. Speaks to storage_api, listens to the news of mailboxes."""

from mailboat_common.bus import Bus
from mailboat_common.config import load
from mailboat_common.edge import edge_server, serve_for_life, watched_certificates
from mailboat_common.lifecycle import Lifecycle, run
from mailboat_common.server import Admission, ProtocolServer, TlsMode
from mailboat_common.tls import CertificateStore
from mailboat_store_client.events import MailboxEvents
from mailboat_store_client.http import open_store

from . import capabilities
from .commands import load as commands
from .connection import ImapConnection
from .gateway import Gateway
from .settings import Settings
from .views import Views

LISTENERS = {"imap": TlsMode.STARTTLS, "imaps": TlsMode.IMPLICIT}
REFUSAL = b"* BYE [LIMIT] Too many connections, try again later\r\n"

__all__ = ["build_server", "commands", "main"]


def build_server(settings: Settings, gateway: Gateway, certificates: CertificateStore) -> ProtocolServer:
    """All listeners; each connection gets a session of the gateway."""

    def connect(admission: Admission) -> ImapConnection:
        return ImapConnection(gateway, admission, certificates)

    return edge_server(settings, "imap", LISTENERS, connect, refusal=REFUSAL, certificates=certificates)


def main() -> None:
    """The process."""
    settings = load(Settings)

    async def start(life: Lifecycle) -> None:
        capabilities.check()
        certificates = watched_certificates(life, settings)
        store = await open_store(life, settings)

        bus = Bus(settings.amqp_url, "imap_gateway")
        views = Views(store.read, settings.policy())
        news = MailboxEvents(bus, views.on_news, views.poll_now)
        gateway = Gateway(store, news, views, settings.policy())
        life.spawn(bus.run(), "bus")
        life.on_close(bus.close)
        life.spawn(views.keep_polling(lambda: news.connected), "poll")
        life.spawn(gateway.announcer.run(), "announcer")
        life.on_close(gateway.announcer.flush)

        await serve_for_life(life, build_server(settings, gateway, certificates))

    run("imap_gateway", settings, start)
