"""SMTP/LMTP client and SMTP sink on raw asyncio protocols."""
import asyncio
import collections
import re
import socket
import time

from . import imap


class SmtpError(Exception):
    pass


DOT = re.compile(rb"^\.", re.M)


def dot_stuff(message):
    """Body as sent after DATA, with the closing dot."""
    if b"\n." in message or message.startswith(b"."):
        message = DOT.sub(b"..", message)
    return message + (b".\r\n" if message.endswith(b"\r\n") else b"\r\n.\r\n")


class Smtp(asyncio.Protocol):
    def __init__(self):
        self.loop = asyncio.get_running_loop()
        self.waiters = collections.deque()
        self.buf = b""
        self.ext = b""

    @classmethod
    async def connect(cls, host, port, lmtp=False, pipelining=True, ssl=None, timeout=60, starttls=None, auth=None):
        _, self = await asyncio.wait_for(asyncio.get_running_loop().create_connection(cls, host, port, ssl=ssl), timeout)
        self.lmtp = lmtp
        await asyncio.wait_for(self._reply(b"220"), timeout)
        hello = b"LHLO load.example" if lmtp else b"EHLO load.example"
        self.ext = (await self.cmd(hello)).upper()
        if starttls is not None:
            await self.cmd(b"STARTTLS")
            self.transport = await self.loop.start_tls(self.transport, self, starttls, server_hostname=host)
            self.ext = (await self.cmd(hello)).upper()
        if auth is not None:
            await self.auth_plain(*auth)
        self.pipelining = pipelining and b"PIPELINING" in self.ext
        return self

    def connection_made(self, transport):
        self.transport = transport
        self._reply_fut = self.loop.create_future()
        self.waiters.append(self._reply_fut)

    def connection_lost(self, exc):
        for w in self.waiters:
            if not w.done():
                w.set_exception(SmtpError("connection lost: %s" % exc))

    def data_received(self, data):
        if imap.QUICKACK:
            self.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        buf = self.buf + data if self.buf else data
        while True:
            end = buf.find(b"\n")
            start = 0
            while end >= 0 and buf[start + 3:start + 4] == b"-":
                start = end + 1
                end = buf.find(b"\n", start)
            if end < 0:
                break
            reply, buf = buf[:end + 1], buf[end + 1:]
            if self.waiters:
                w = self.waiters.popleft()
                if not w.done():
                    w.set_result(reply)
        self.buf = buf

    async def _reply(self, code):
        reply = await self._reply_fut
        if not reply.startswith(code):
            raise SmtpError(reply.decode("utf-8", "replace"))
        return reply

    def _send(self, data):
        fut = self.loop.create_future()
        self.waiters.append(fut)
        self.transport.write(data)
        return fut

    async def cmd(self, line, code=b"2"):
        reply = await self._send(line + b"\r\n")
        if not reply.startswith(code):
            raise SmtpError("%r -> %r" % (line[:80], reply[:200]))
        return reply

    async def auth_plain(self, user, password):
        import base64
        await self.cmd(b"AUTH PLAIN " + base64.b64encode(b"\0%s\0%s" % (user.encode(), password.encode())))

    async def send(self, sender, rcpts, message):
        """One transaction; returns when the final reply (each of them in LMTP) is in."""
        mail = b"MAIL FROM:<%s>" % sender
        rcpt = [b"RCPT TO:<%s>" % r for r in rcpts]
        body = dot_stuff(message)
        if self.pipelining:
            futs = [self.loop.create_future() for _ in range(len(rcpt) + 2)]
            self.waiters.extend(futs)
            self.transport.write(b"\r\n".join([mail, *rcpt, b"DATA", b""]))
            replies = [await f for f in futs]
            for r in replies[:-1]:
                if not r.startswith(b"2"):
                    raise SmtpError(repr(r))
            if not replies[-1].startswith(b"354"):
                raise SmtpError(repr(replies[-1]))
        else:
            await self.cmd(mail)
            for r in rcpt:
                await self.cmd(r)
            await self.cmd(b"DATA", b"354")
        n = len(rcpt) if self.lmtp else 1
        futs = [self.loop.create_future() for _ in range(n)]
        self.waiters.extend(futs)
        self.transport.write(body)
        for f in futs:
            r = await f
            if not r.startswith(b"2"):
                raise SmtpError(repr(r))

    async def quit(self):
        try:
            await self.cmd(b"QUIT")
        except SmtpError:
            pass
        self.transport.close()


class SinkSession(asyncio.Protocol):
    """SMTP server that accepts everything and counts; see Sink."""

    def __init__(self, sink):
        self.sink = sink
        self.buf = b""
        self.in_data = False
        self.tail = b""

    def connection_made(self, transport):
        self.transport = transport
        self.sink.connections += 1
        transport.write(b"220 sink ESMTP\r\n")

    def data_received(self, data):
        out = []
        while data:
            if self.in_data:
                joined = self.tail + data
                end = joined.find(b"\r\n.\r\n")
                if end < 0:
                    self.sink.bytes += len(data)
                    self.tail = joined[-4:]
                    break
                data = joined[end + 5:]
                self.in_data = False
                self.sink.messages += 1
                self.sink.times.append(time.perf_counter())
                out.append(b"250 2.0.0 Ok\r\n")
                self.sink.check()
                continue
            data = self.buf + data
            end = data.find(b"\n")
            if end < 0:
                self.buf = data
                break
            line, data, self.buf = data[:end], data[end + 1:], b""
            verb = line[:4].upper()
            if verb == b"EHLO":
                out.append(b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 SIZE 104857600\r\n")
            elif verb == b"DATA":
                out.append(b"354 go\r\n")
                self.in_data = True
                self.tail = b"\r\n"
            elif verb == b"QUIT":
                out.append(b"221 bye\r\n")
                self.transport.write(b"".join(out))
                self.transport.close()
                return
            else:
                if verb == b"RCPT":
                    self.sink.attempt(line)
                out.append(b"250 2.0.0 Ok\r\n")
        if out:
            self.transport.write(b"".join(out))


RCPT = re.compile(rb"RCPT TO:<r(\d+)@", re.I)


class Sink:
    """Counting SMTP sink: `await sink.wait(n)` returns once n messages are in.

    `attempts` has the time of the first RCPT for each `r<number>@...`; `double` counts messages beyond one each.
    """

    def __init__(self):
        self.messages = self.bytes = self.connections = self.double = 0
        self.times = []
        self.attempts = {}
        self.want = None
        self.waiter = None

    async def start(self, host, port):
        """Listen; `host` may be a list of addresses."""
        self.server = await asyncio.get_running_loop().create_server(lambda: SinkSession(self), host, port, backlog=1024)
        return self

    def attempt(self, line):
        found = RCPT.match(line)
        if found:
            number = int(found[1])
            self.double += number in self.attempts
            self.attempts.setdefault(number, time.perf_counter())

    def check(self):
        if self.want is not None and self.messages >= self.want and not self.waiter.done():
            self.waiter.set_result(None)

    async def wait(self, n, timeout):
        self.want, self.waiter = n, asyncio.get_running_loop().create_future()
        self.check()
        await asyncio.wait_for(self.waiter, timeout)

    def close(self):
        self.server.close()
