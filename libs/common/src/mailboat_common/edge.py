"""What the protocol edges share: listeners, limits and certificates from their settings.

A listener `imaps` of a service is on when its settings' `imaps_port` isn't 0 (`MB_IMAPS_PORT`), and so is its twin
behind a load balancer, `imaps_proxy_port` (`MB_IMAPS_PROXY_PORT`), which speaks the PROXY protocol first.
"""

from collections.abc import Mapping

from mailboat_common.config import PREFIX, EdgeSettings
from mailboat_common.lifecycle import Lifecycle
from mailboat_common.server import ConnectionLimits, Factory, Listener, ProtocolServer, TlsMode
from mailboat_common.tls import CertificateStore


def watched_certificates(life: Lifecycle, settings: EdgeSettings) -> CertificateStore:
    """The certificates of `tls_dir`, reloaded for life."""
    certificates = CertificateStore(settings.tls_dir)
    life.spawn(certificates.watch(), "certificates")
    return certificates


def edge_server(
    settings: EdgeSettings,
    protocol: str,
    names: Mapping[str, TlsMode],
    factory: Factory,
    *,
    refusal: bytes,
    certificates: CertificateStore,
    any_port: bool = False,
) -> ProtocolServer:
    """The server of all listeners in `names` that are switched on; with `any_port` each on a free port, for tests."""
    return ProtocolServer(
        _listeners(settings, protocol, names, any_port=any_port),
        factory,
        refusal=refusal,
        host=settings.listen_host,
        tls=certificates,
        limits=ConnectionLimits(settings.connections_per_address, settings.connections_total, settings.exempt_networks),
        proxy_networks=settings.proxy_networks,
    )


async def serve_for_life(life: Lifecycle, server: ProtocolServer) -> None:
    """Opens the ports; they drain and close with the process."""
    await server.start()
    life.on_drain(server.drain)
    life.on_close(server.abort)


def _listeners(
    settings: EdgeSettings, protocol: str, names: Mapping[str, TlsMode], *, any_port: bool
) -> list[Listener]:
    out = []
    for name, tls in names.items():
        for field, proxy in ((f"{name}_port", False), (f"{name}_proxy_port", True)):
            port: int = getattr(settings, field)
            if port:
                out.append(Listener(protocol, 0 if any_port else port, tls, proxy, name, PREFIX + field.upper()))
    return out
