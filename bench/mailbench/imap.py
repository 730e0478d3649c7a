"""A fast IMAP client: raw asyncio protocol, whole responses as bytes.

A command ends where CRLF + its tag appears; tags hold a random nonce, so no
message body can contain one. That search runs at memory speed, which is why
the client is not the bottleneck of a 10,000-message FETCH.
"""
import asyncio
import os
import re
import socket
import time

QUICKACK = False        # acknowledge every segment at once (Linux); real clients do not
EXISTS = re.compile(rb"^\* (\d+) EXISTS", re.M)
FETCH = re.compile(rb"^\* \d+ FETCH ", re.M)


class ImapError(Exception):
    pass


class Reply:
    __slots__ = ("status", "text", "data")

    def __init__(self, status, text, data):
        self.status, self.text, self.data = status, text, data

    def exists(self):
        found = EXISTS.findall(self.data)
        return int(found[-1]) if found else 0


class Imap(asyncio.Protocol):
    def __init__(self):
        self.loop = asyncio.get_running_loop()
        self.nonce = b"T" + os.urandom(3).hex().encode()
        self.seq = 0
        self.waiter = None
        self.chunks = []
        self.pattern = None
        self.tail = b""
        self.found = False
        self.on_line = None          # set while idling
        self.line_buf = b""
        self.capabilities = b""
        self.commands = 0

    @classmethod
    async def connect(cls, host, port, user=None, password=None, ssl=None, timeout=60, starttls=None):
        loop = asyncio.get_running_loop()
        self = None

        def factory():
            nonlocal self
            self = cls()
            self._expect(b"* ")
            return self
        await asyncio.wait_for(loop.create_connection(factory, host, port, ssl=ssl), timeout)
        greeting = await asyncio.wait_for(self.waiter, timeout)
        if not greeting.data.startswith((b"* OK", b"* PREAUTH")):
            raise ImapError("greeting: %r" % greeting.data[:200])
        if starttls is not None:
            await self.cmd(b"STARTTLS")
            self.transport = await loop.start_tls(self.transport, self, starttls, server_hostname=host)
            self.sock = self.transport.get_extra_info("socket")
        if user is not None:
            await asyncio.wait_for(self.login(user, password), timeout)
        return self

    # protocol side
    def connection_made(self, transport):
        self.transport = transport
        self.sock = transport.get_extra_info("socket")

    def connection_lost(self, exc):
        if self.waiter and not self.waiter.done():
            self.waiter.set_exception(ImapError("connection lost: %s, after %r" % (exc, b"".join(self.chunks)[-200:])))

    def _expect(self, pattern, refusal=None):
        """Wait for a line that starts with pattern; `refusal` (a tag) may come instead of "+ "."""
        self.waiter = self.loop.create_future()
        self.chunks = []
        self.tail = b"\r\n"
        self.found = False
        self.pattern = b"\r\n" + pattern
        self.refusal = refusal and b"\r\n" + refusal

    def data_received(self, data):
        if QUICKACK:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        if self.on_line is not None:
            return self._lines(data)
        if self.waiter is None or self.waiter.done():
            return                                    # unsolicited, between commands
        self.chunks.append(data)
        pat = self.pattern
        if self.refusal and self.refusal in b"\r\n" + b"".join(self.chunks):
            pat = self.pattern = self.refusal
            self.refusal = None
        if not self.found:
            if data.find(pat) < 0 and (self.tail + data[:len(pat)]).find(pat) < 0:
                self.tail = data[-len(pat):] if len(data) >= len(pat) else (self.tail + data)[-len(pat):]
                return
            self.found = True
        elif b"\n" not in data:
            return
        whole = b"\r\n" + b"".join(self.chunks)
        pos = whole.find(pat) + 2
        end = whole.find(b"\r\n", pos)
        if end < 0:
            self.chunks = [whole[2:]]
            return
        line = whole[pos:end]
        status, _, text = line[len(pat) - 2:].partition(b" ")
        self.waiter.set_result(Reply(status, text, whole[2:pos] if pat[2:3] == b"T" else whole[2:]))

    def _lines(self, data):
        now = time.perf_counter()
        data = self.line_buf + data
        *lines, self.line_buf = data.split(b"\r\n")
        for line in lines:
            if self.on_line is None:
                break
            self.on_line(line, now)

    # command side
    async def cmd(self, line, literal=None, check=True):
        """Send one command (bytes, no tag) and wait for its tagged reply."""
        self.seq += 1
        self.commands += 1
        tag = b"%s.%d" % (self.nonce, self.seq)
        if literal is None:
            self._expect(tag + b" ")
            self.transport.write(tag + b" " + line + b"\r\n")
        elif b"LITERAL+" in self.capabilities:
            self._expect(tag + b" ")
            self.transport.writelines((b"%s %s {%d+}\r\n" % (tag, line, len(literal)), literal, b"\r\n"))
        else:
            self._expect(b"+ ", tag + b" ")
            self.transport.write(b"%s %s {%d}\r\n" % (tag, line, len(literal)))
            reply = await self.waiter
            if self.pattern[2:3] == b"T":
                raise ImapError("%r -> %r %r" % (line[:120], reply.status, reply.text[:200]))
            self._expect(tag + b" ")
            self.transport.writelines((literal, b"\r\n"))
        reply = await self.waiter
        if check and reply.status != b"OK":
            raise ImapError("%r -> %r %r" % (line[:120], reply.status, reply.text[:200]))
        return reply

    async def login(self, user, password):
        reply = await self.cmd(b'LOGIN "%s" "%s"' % (user.encode(), password.encode()))
        if b"[CAPABILITY" in reply.text:
            self.capabilities = reply.text
        else:
            self.capabilities = (await self.cmd(b"CAPABILITY")).data
        self.capabilities = self.capabilities.upper()

    async def append(self, mailbox, message, flags=b"", check=True):
        return await self.cmd(b'APPEND "%s" (%s)' % (mailbox, flags), literal=message, check=check)

    async def idle(self, on_line):
        """Enter IDLE; on_line(line, time) is called for each untagged line."""
        self.seq += 1
        self.commands += 1
        self.idle_tag = b"%s.%d" % (self.nonce, self.seq)
        self._expect(b"+ ", self.idle_tag + b" ")
        self.transport.write(self.idle_tag + b" IDLE\r\n")
        reply = await self.waiter
        if self.pattern[2:3] == b"T":
            raise ImapError("IDLE -> %r %r" % (reply.status, reply.text[:200]))
        self.on_line = on_line
        self.line_buf = b""
        rest = reply.data[reply.data.find(b"\r\n", reply.data.find(b"+ ")) + 2:]
        if rest:
            self._lines(rest)

    async def done(self):
        ended = self.loop.create_future()
        before = self.on_line

        def watch(line, now):
            if line.startswith(self.idle_tag):
                self.on_line = None
                ended.set_result(line)
            else:
                before(line, now)
        self.on_line = watch
        self.transport.write(b"DONE\r\n")
        return await ended

    async def logout(self):
        try:
            await self.cmd(b"LOGOUT", check=False)
        except ImapError:
            pass
        self.transport.close()

    def close(self):
        self.waiter = None
        self.transport.abort()
