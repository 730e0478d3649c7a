"""An SMTP session with a remote server up to where messages can be sent: greeting, EHLO, STARTTLS, AUTH.

RFC 5321 3.1, 3.2, 4.1.1.1 (HELO for a server without EHLO); RFC 3207; RFC 8314 3.3 (implicit TLS); RFC 4954 and
RFC 4616 (AUTH).

Rules: a password is sent under TLS, or where the operator said that there is none to be had (TlsMode.NONE). What EHLO
said before TLS is forgotten. A server that doesn't want to talk is `Unreachable`: there may be another one.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from binascii import b2a_base64
from collections.abc import Callable
from dataclasses import dataclass, field

from mailboat_store_client.queue import TlsMode
from mailboat_wire.smtp import Extensions, Reply, parse_extensions

from .remote_tls import context_for
from .smtp_stream import Broken, SmtpStream, tls_fault
from .timeouts import Timeouts

_NO_EHLO = (500, 501, 502, 503, 504, 550)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server, and the terms on which it is spoken to: what a connection can be used again for.

    `name` is the host's name as DNS or the operator gives it; the certificate is checked against it.
    """

    name: str
    address: str
    port: int
    tls: TlsMode
    username: str = ""
    password: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"{self.name} [{self.address}]:{self.port}"


class Unreachable(Exception):
    """No message can be sent here now. `reason` is ours; `never` if the host says that it never takes mail."""

    def __init__(self, reason: str, status: str, reply: Reply | None = None, *, never: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.reply = reply
        self.never = never


@dataclass(slots=True, eq=False)
class Session:
    """A session that messages can be sent in.

    `dirty`: a RSET is due before the next MAIL. `messages`: transactions begun so far. `open_seconds` is what opening
    it took, `tls_seconds` the part of that from STARTTLS on.
    """

    endpoint: Endpoint
    stream: SmtpStream
    extensions: Extensions
    tls: str
    messages: int = 0
    dirty: bool = False
    open_seconds: float = 0.0
    tls_seconds: float = 0.0

    @property
    def usable(self) -> bool:
        """Whether another message may be tried."""
        return self.stream.quiet


class Opener:
    """Opens sessions. `hostname` is what EHLO says; `contexts` gives a mode's TLS context."""

    def __init__(
        self, hostname: str, timeouts: Timeouts, contexts: Callable[[TlsMode], ssl.SSLContext] = context_for
    ) -> None:
        self.hostname = hostname
        self.timeouts = timeouts
        self._contexts = contexts

    async def open(self, endpoint: Endpoint) -> Session:
        """A session on the endpoint's terms. Raises Unreachable.

        Under MAY a failed handshake is followed by a second connection, in the clear (RFC 7435 3).
        """
        started = time.monotonic()
        session = await self._opened(endpoint)
        session.open_seconds = time.monotonic() - started
        return session

    async def _opened(self, endpoint: Endpoint) -> Session:
        try:
            return await self._open(endpoint, endpoint.tls)
        except _HandshakeFailed as failed:
            if endpoint.tls is not TlsMode.MAY or endpoint.username:
                raise Unreachable(failed.reason, "4.7.5") from None
        try:
            return await self._open(endpoint, TlsMode.NONE)
        except _HandshakeFailed as failed:
            raise Unreachable(failed.reason, "4.7.5") from None

    async def _open(self, endpoint: Endpoint, mode: TlsMode) -> Session:
        stream = await self._connect(endpoint, mode)
        try:
            session = await self._greet(endpoint, stream)
            if mode in (TlsMode.MAY, TlsMode.ENCRYPT, TlsMode.VERIFY):
                await self._secure(session, mode)
            if endpoint.username:
                await self._authenticate(session)
        except Broken as broken:
            stream.abort()
            raise Unreachable(broken.reason, broken.status, broken.reply) from None
        except BaseException:
            stream.abort()
            raise
        return session

    async def _connect(self, endpoint: Endpoint, mode: TlsMode) -> SmtpStream:
        implicit = mode is TlsMode.IMPLICIT
        context = self._contexts(mode) if implicit else None
        name = endpoint.name if implicit else None
        seconds = self.timeouts.connect + (self.timeouts.tls if implicit else 0.0)
        try:
            async with asyncio.timeout(seconds):
                _, stream = await asyncio.get_running_loop().create_connection(
                    SmtpStream, endpoint.address, endpoint.port, ssl=context, server_hostname=name
                )
        except ssl.SSLError as error:
            raise Unreachable(tls_fault(error), "4.7.5") from None
        except TimeoutError:
            raise Unreachable("the connection timed out", "4.4.1") from None
        except ConnectionRefusedError:
            raise Unreachable("the connection was refused", "4.4.1") from None
        except OSError:
            raise Unreachable("no connection could be made", "4.4.1") from None
        return stream

    async def _greet(self, endpoint: Endpoint, stream: SmtpStream) -> Session:
        greeting = await stream.reply(self.timeouts.greeting)
        if greeting.code != 220:
            never = greeting.code in (521, 556)  # RFC 7504
            raise Unreachable("the server doesn't want to talk", "4.3.2", greeting, never=never)
        return Session(endpoint, stream, await self._hello(stream), stream.tls)

    async def _hello(self, stream: SmtpStream) -> Extensions:
        reply = await stream.ask(f"EHLO {self.hostname}", self.timeouts.command)
        if reply.code == 250:
            return parse_extensions(reply.lines)
        if reply.code in _NO_EHLO:
            reply = await stream.ask(f"HELO {self.hostname}", self.timeouts.command)
            if reply.code == 250:
                return Extensions()
        raise Unreachable("the server doesn't accept our greeting", "4.5.0", reply)

    async def _secure(self, session: Session, mode: TlsMode) -> None:
        must = mode is not TlsMode.MAY
        if "STARTTLS" not in session.extensions:
            if must:
                raise Unreachable("the server doesn't offer STARTTLS, and policy asks for TLS", "4.7.4")
            return
        started = time.monotonic()
        reply = await session.stream.ask("STARTTLS", self.timeouts.command)
        if reply.code != 220:
            if must or reply.code == 421:
                raise Unreachable("the server doesn't start TLS, and policy asks for it", "4.7.5", reply)
            return
        try:
            await session.stream.start_tls(self._contexts(mode), session.endpoint.name, self.timeouts.tls)
        except Broken as broken:
            raise _HandshakeFailed(broken.reason) from None
        session.tls = session.stream.tls
        session.extensions = await self._hello(session.stream)
        session.tls_seconds = time.monotonic() - started

    async def _authenticate(self, session: Session) -> None:
        endpoint = session.endpoint
        if not session.tls and endpoint.tls is not TlsMode.NONE:
            raise Unreachable("no password is sent in the clear", "4.7.4")
        mechanisms = session.extensions.mechanisms
        user, password = endpoint.username.encode("utf-8"), endpoint.password.encode("utf-8")
        if "PLAIN" in mechanisms:
            steps = ["AUTH PLAIN " + _base64(b"\0" + user + b"\0" + password)]
        elif "LOGIN" in mechanisms:
            steps = ["AUTH LOGIN", _base64(user), _base64(password)]
        else:
            raise Unreachable("the server offers no way to log in that we know", "4.7.4")
        for step in steps:
            reply = await session.stream.ask(step, self.timeouts.command)
            if reply.code != 334:
                break
        if reply.code != 235:
            raise Unreachable("the server refused our user name and password", "4.7.8", reply)


class _HandshakeFailed(Exception):
    """STARTTLS was agreed on, and TLS didn't come about."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _base64(value: bytes) -> str:
    return b2a_base64(value, newline=False).decode("ascii")
