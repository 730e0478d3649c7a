"""POP3 client on a raw asyncio protocol."""
import asyncio
import socket

from . import imap


class Pop3Error(Exception):
    pass


class Pop3(asyncio.Protocol):
    def __init__(self):
        self.loop = asyncio.get_running_loop()
        self.chunks = []
        self.multi = False
        self.size = 0
        self.waiter = self.loop.create_future()

    @classmethod
    async def connect(cls, host, port, user, password, ssl=None, timeout=120, starttls=None):
        _, self = await asyncio.get_running_loop().create_connection(cls, host, port, ssl=ssl)
        await asyncio.wait_for(self.waiter, timeout)
        if starttls is not None:
            await self.cmd(b"STLS")
            self.transport = await self.loop.start_tls(self.transport, self, starttls, server_hostname=host)
        await self.cmd(b"USER " + user.encode())
        await asyncio.wait_for(self.cmd(b"PASS " + password.encode()), timeout)
        return self

    def connection_made(self, transport):
        self.transport = transport

    def connection_lost(self, exc):
        if not self.waiter.done():
            self.waiter.set_exception(Pop3Error("connection lost: %s" % exc))

    def data_received(self, data):
        if imap.QUICKACK:
            self.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        self.chunks.append(data)
        if self.multi and len(self.chunks) > 1 and len(data) < 5:
            self.chunks = [b"".join(self.chunks)]
        last = self.chunks[-1]
        if self.multi and not self.chunks[0].startswith(b"-"):
            if not last.endswith(b"\r\n.\r\n"):
                return
        elif not last.endswith(b"\n"):
            return
        if not self.waiter.done():
            whole = b"".join(self.chunks)
            if whole.startswith(b"+OK"):
                self.waiter.set_result(whole)
            else:
                self.waiter.set_exception(Pop3Error(repr(whole[:200])))

    async def cmd(self, line, multi=False):
        self.chunks, self.multi, self.waiter = [], multi, self.loop.create_future()
        self.transport.write(line + b"\r\n")
        return await self.waiter

    async def quit(self):
        try:
            await self.cmd(b"QUIT")
        except Pop3Error:
            pass
        self.transport.close()
