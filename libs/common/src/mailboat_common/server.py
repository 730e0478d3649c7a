"""Listeners of a protocol service: accepting, PROXY protocol, TLS, limits per client address, counting, drain.

The service gives a factory that makes an asyncio.Protocol for an `Admission`; `connection.Connection` is the usual
base; aiosmtpd's protocol with `ServedProtocol` mixed in fits as well.

Order for a connection: accepted → total limit → (PROXY port: sender listed? header within 5 s) → limit of the true
client address → TLS handshake within 30 s if the listener is implicit → the protocol's `connection_made`. A refused
client reads the protocol's refusal line (not on implicit TLS: a handshake costs more than the refusal is worth).
"""

import abc
import asyncio
import contextlib
import enum
import errno
import socket
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from mailboat_common import metrics
from mailboat_common.config import Network
from mailboat_common.errors import PeerError
from mailboat_common.limits import PerKey, address_key
from mailboat_common.log import get_logger
from mailboat_common.proxy_protocol import HeaderReader
from mailboat_common.sockets import bound_port, listening_socket
from mailboat_common.tls import CertificateStore

log = get_logger(__name__)

PROXY_HEADER_SECONDS = 5.0
HANDSHAKE_SECONDS = 30.0
ACCEPT_BATCH = 64
DRAIN_SHARE = 0.8  # of the time left: the last sessions asked need some to finish
DRAIN_INTERVAL = 0.25  # at most: few sessions leave within seconds, many spread their reconnects over all the time

Address = IPv4Address | IPv6Address


class TlsMode(enum.Enum):
    """When a connection turns to TLS."""

    NONE = "none"
    STARTTLS = "starttls"
    IMPLICIT = "implicit"


@dataclass(frozen=True, slots=True)
class Listener:
    """One port. `name` tells listeners of a protocol apart (`submission`); `setting` is named if the port is taken."""

    protocol: str  # the metrics' label: smtp, imap, pop3
    port: int
    tls: TlsMode = TlsMode.NONE
    proxy: bool = False
    name: str = ""
    setting: str = "the port's setting"


@dataclass(frozen=True, slots=True)
class Peer:
    """A client: its true address (from the PROXY header, if any; IPv4 never as a mapped IPv6 one)."""

    address: Address
    port: int
    tls: bool
    listener: Listener


class Admission:
    """The permission for one connection, which counts until `release`."""

    __slots__ = ("_release", "peer")

    def __init__(self, peer: Peer, release: Callable[["Admission"], None]) -> None:
        self.peer = peer
        self._release: Callable[[Admission], None] | None = release

    @property
    def released(self) -> bool:
        """Whether the connection is gone."""
        return self._release is None

    def release(self) -> None:
        """The connection is gone: call it in `connection_lost`. Further calls do nothing."""
        if self._release is not None:
            release, self._release = self._release, None
            release(self)


class ServedProtocol(asyncio.Protocol, abc.ABC):
    """What the factory makes. Calls `admission.release()` in `connection_lost`."""

    @abc.abstractmethod
    def request_close(self) -> None:
        """Says goodbye (421, BYE) as soon as no command runs, and closes."""

    @abc.abstractmethod
    def abort(self) -> None:
        """Closes at once."""


Factory = Callable[[Admission], ServedProtocol]


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How many connections the process takes; networks without a limit per address."""

    per_address: int = 100
    total: int = 20000
    exempt_networks: tuple[Network, ...] = ()


class _Rejected(Exception):
    def __init__(self, reason: str, *, say: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.say = say


class ProtocolServer:
    """All listeners of a process, with common limits."""

    def __init__(
        self,
        listeners: list[Listener],
        factory: Factory,
        *,
        refusal: bytes,
        host: str = "",
        tls: CertificateStore | None = None,
        limits: ConnectionLimits | None = None,
        proxy_networks: tuple[Network, ...] = (),
    ) -> None:
        if tls is None and any(listener.tls is not TlsMode.NONE for listener in listeners):
            raise ValueError("a TLS listener needs certificates")
        self._listeners = listeners
        self._factory = factory
        self._refusal = refusal
        self._host = host
        self._tls = tls.server_context() if tls is not None else None
        self._limits = limits or ConnectionLimits()
        self._proxy_networks = proxy_networks
        self._per_address: PerKey[int] = PerKey(self._limits.per_address)
        self._sockets: list[tuple[Listener, socket.socket]] = []
        self._opening: set[asyncio.Task[None]] = set()
        self._open: dict[Admission, ServedProtocol] = {}  # in order of arrival
        self._count = 0
        self._empty = asyncio.Event()

    @property
    def connections(self) -> int:
        """Open connections, those still in a handshake included."""
        return self._count

    def ports(self) -> dict[Listener, int]:
        """The port of each listener (of interest where 0 was asked for)."""
        return {listener: bound_port(bound) for listener, bound in self._sockets}

    async def start(self) -> None:
        """Opens all ports, then accepts. Raises StartupError, with none left open, when one can't be had."""
        try:
            for listener in self._listeners:
                self._sockets.append((listener, listening_socket(self._host, listener.port, listener.setting)))
        except BaseException:
            self._close_sockets()
            raise
        for listener, bound in self._sockets:
            metrics.connections.labels(listener.protocol)
            self._accept_from(listener, bound)

    async def drain(self, deadline: float) -> None:
        """Stops accepting, asks every connection to close, spread over the time until `deadline` (event loop time).

        What is still open then is cut off.
        """
        loop = asyncio.get_running_loop()
        self.stop_accepting()
        asked: set[Admission] = set()
        while self._count and loop.time() < deadline:
            waiting = [(admission, open_) for admission, open_ in self._open.items() if admission not in asked]
            began = loop.time()
            pause = drain_pause(len(waiting), deadline - began)
            for turn, (admission, connection) in enumerate(waiting, 1):
                asked.add(admission)
                if not admission.released:
                    connection.request_close()
                    # By the clock: a busy process is late with each, and the last must not be cut off unasked.
                    await self._wait_empty(began + turn * pause)
            await self._wait_empty(min(deadline, loop.time() + 0.25))
        if self._count:
            log.warning("cutting off sessions that didn't end in the drain", connections=self._count)
        await self.abort()

    async def abort(self) -> None:
        """Stops accepting and cuts off every connection."""
        self.stop_accepting()
        for task in list(self._opening):
            task.cancel()
        if self._opening:
            await asyncio.wait(self._opening)
        for connection in list(self._open.values()):
            connection.abort()
        await self._wait_empty(asyncio.get_running_loop().time() + 1.0)

    def stop_accepting(self) -> None:
        """Takes what already waits in the backlog (closing would reset it), then closes the ports."""
        for listener, bound in self._sockets:
            asyncio.get_running_loop().remove_reader(bound)
            self._accept_batch(listener, bound)
        self._close_sockets()

    # -- accepting

    def _accept_from(self, listener: Listener, bound: socket.socket) -> None:
        if bound.fileno() >= 0:
            asyncio.get_running_loop().add_reader(bound, self._accept, listener, bound)

    def _accept(self, listener: Listener, bound: socket.socket) -> None:
        if not self._accept_batch(listener, bound):
            loop = asyncio.get_running_loop()
            loop.remove_reader(bound)
            loop.call_later(1.0, self._accept_from, listener, bound)

    def _accept_batch(self, listener: Listener, bound: socket.socket) -> bool:
        """Accepts up to a batch; False when the process is out of descriptors or memory."""
        for _ in range(ACCEPT_BATCH):
            try:
                client, address = bound.accept()
            except (BlockingIOError, InterruptedError):
                return True
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    log.error("can't accept connections, pausing", protocol=listener.protocol, cause=error.strerror)
                    return False
                continue  # the client was gone before we got to it (ECONNABORTED and its like, accept(2))
            client.setblocking(False)
            opening = asyncio.create_task(self._admit(listener, client, address))
            self._opening.add(opening)
            opening.add_done_callback(self._opening.discard)
        return True

    async def _admit(self, listener: Listener, client: socket.socket, address: tuple[str, int]) -> None:
        self._count += 1
        admission: Admission | None = None
        try:
            if self._count > self._limits.total:
                raise _Rejected("total", say=True)
            peer = await self._identify(listener, client, address)
            admission = self._register(peer)
            await self._hand_over(admission, client)
        except _Rejected as rejected:
            metrics.connections_rejected.labels(listener.protocol, rejected.reason).inc()
            client_address = str(_plain_address(address[0]))
            log.info("connection refused", protocol=listener.protocol, client=client_address, reason=rejected.reason)
            self._turn_away(listener, client, say=rejected.say)
            self._leave(admission)
        except BaseException:
            client.close()
            self._leave(admission)
            raise

    async def _identify(self, listener: Listener, client: socket.socket, address: tuple[str, int]) -> Peer:
        host, port = _plain_address(address[0]), address[1]
        if listener.proxy:
            if not any(host in network for network in self._proxy_networks):
                raise _Rejected("proxy-network")
            try:
                async with asyncio.timeout(PROXY_HEADER_SECONDS):
                    header = await _read_header(client)
            except (PeerError, OSError, TimeoutError):
                raise _Rejected("proxy-header") from None
            if header.source is not None:
                host, port = header.source.address, header.source.port
        return Peer(host, port, listener.tls is TlsMode.IMPLICIT, listener)

    def _register(self, peer: Peer) -> Admission:
        """Counts the connection under its address, or refuses it."""
        exempt = any(peer.address in network for network in self._limits.exempt_networks)
        key = address_key(peer.address)
        if not exempt and not self._per_address.acquire(key):
            raise _Rejected("address", say=True)
        gauge = metrics.connections.labels(peer.listener.protocol)
        gauge.inc()

        def release(admission: Admission) -> None:
            gauge.dec()
            if not exempt:
                self._per_address.release(key)
            self._open.pop(admission, None)
            self._uncount()

        return Admission(peer, release)

    async def _hand_over(self, admission: Admission, client: socket.socket) -> None:
        """Runs the TLS handshake if it comes first, and gives the connection to a new protocol object."""
        listener = admission.peer.listener
        implicit = listener.tls is TlsMode.IMPLICIT
        made: list[ServedProtocol] = []

        def make() -> ServedProtocol:
            made.append(self._factory(admission))
            return made[0]

        try:
            # What it returns with TLS is uvloop's own protocol, not ours.
            await asyncio.get_running_loop().connect_accepted_socket(
                make,
                client,
                ssl=self._tls if implicit else None,
                ssl_handshake_timeout=HANDSHAKE_SECONDS if implicit else None,
            )
        except OSError:  # ssl.SSLError and TimeoutError are
            raise _Rejected("tls-handshake" if implicit else "gone") from None
        metrics.connections_total.labels(listener.protocol, listener.tls.value).inc()
        if not admission.released:
            self._open[admission] = made[0]

    def _turn_away(self, listener: Listener, client: socket.socket, *, say: bool) -> None:
        try:
            if say and listener.tls is not TlsMode.IMPLICIT:
                client.send(self._refusal)
                client.shutdown(socket.SHUT_WR)
        except OSError as error:
            log.debug("refused client was gone", protocol=listener.protocol, cause=error.strerror)
        finally:
            client.close()

    # -- counting and ending

    def _leave(self, admission: Admission | None) -> None:
        if admission is not None:
            admission.release()
        else:
            self._uncount()

    def _uncount(self) -> None:
        self._count -= 1
        if not self._count:
            self._empty.set()

    async def _wait_empty(self, until: float) -> None:
        self._empty.clear()
        if self._count:
            left = max(0.0, until - asyncio.get_running_loop().time())
            with contextlib.suppress(TimeoutError):  # the caller looks at what is left
                await asyncio.wait_for(self._empty.wait(), left)

    def _close_sockets(self) -> None:
        for _listener, bound in self._sockets:
            bound.close()
        self._sockets.clear()


def drain_pause(sessions: int, left: float) -> float:
    """Seconds from one session that is asked to leave to the next, with so many to ask in `left` seconds."""
    return min(DRAIN_INTERVAL, max(0.0, DRAIN_SHARE * left) / max(sessions, 1))


async def _read_header(client: socket.socket) -> HeaderReader:
    loop = asyncio.get_running_loop()
    reader = HeaderReader()
    while reader.wanted:
        reader.feed(await loop.sock_recv(client, reader.wanted))
    return reader


def _plain_address(text: str) -> Address:
    """A socket's address without scope, and IPv4 as IPv4 (a dual-stack socket shows it mapped)."""
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
