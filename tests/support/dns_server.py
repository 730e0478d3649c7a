"""A DNS server of our own, authoritative for whatever a test puts into it, over UDP and TCP on one loopback port.

    async with dns_server(ZONE) as dns:
        dns.faults["slow.example."] = Fault.SILENT
        settings["MB_DNS_SERVERS"] = dns.address

`ZONE` is RFC 1035 text with absolute names, e.g. `example.org. 60 MX 10 mx.example.org.`. Aliases within the zone are
followed. A name without any record is NXDOMAIN with an SOA, a name with others NODATA. Faults are by name, for it and
what is below it.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

MAX_CHAIN = 10
SOA = "ns.test. hostmaster.test. 1 3600 600 86400 60"


class Fault(enum.Enum):
    """What goes wrong."""

    SERVFAIL = "servfail"
    REFUSED = "refused"
    SILENT = "silent"  # no answer at all
    TRUNCATED = "truncated"  # over UDP only a hint to ask by TCP
    WRONG_ID = "wrong id"  # an answer to another question
    GARBAGE = "garbage"


class DnsServer:
    """The server. `asked` holds (name, type) of every question, repeats included."""

    def __init__(self, zone: str) -> None:
        self.records: dict[dns.name.Name, list[dns.rrset.RRset]] = {}
        self.faults: dict[str, Fault] = {}
        self.asked: list[tuple[str, str]] = []
        self.address = ""
        for line in zone.splitlines():
            if line.strip() and not line.strip().startswith(";"):
                self.add(line)

    def add(self, line: str) -> None:
        """One record: `name ttl type data`."""
        name, ttl, kind, data = line.split(None, 3)
        owner = dns.name.from_text(name)
        for known in self.records.setdefault(owner, []):
            if known.rdtype == dns.rdatatype.from_text(kind):
                for rdata in dns.rrset.from_text(owner, int(ttl), "IN", kind, data):
                    known.add(rdata)
                return
        self.records[owner].append(dns.rrset.from_text(owner, int(ttl), "IN", kind, data))

    def remove(self, name: str, kind: str) -> None:
        """All records of a name and type."""
        owner = dns.name.from_text(name)
        self.records[owner] = [item for item in self.records[owner] if item.rdtype != dns.rdatatype.from_text(kind)]

    def answer(self, wire: bytes, *, udp: bool) -> bytes | None:
        """The response to a query; None: silence."""
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name = question.name
        self.asked.append((name.to_text(), dns.rdatatype.to_text(question.rdtype)))
        fault = self._fault(name)
        if fault is Fault.SILENT:
            return None
        if fault is Fault.GARBAGE:
            return wire[:2] + b"\xff" * 20
        response = dns.message.make_response(query, recursion_available=True)
        if fault in (Fault.SERVFAIL, Fault.REFUSED):
            response.set_rcode(dns.rcode.SERVFAIL if fault is Fault.SERVFAIL else dns.rcode.REFUSED)
            return response.to_wire()
        if fault is Fault.WRONG_ID:
            response.id ^= 0xFFFF
        if fault is Fault.TRUNCATED and udp:
            response.flags |= dns.flags.TC
            return response.to_wire()
        self._fill(response, name, question.rdtype)
        return response.to_wire(max_size=65535)

    def _fill(self, response: dns.message.Message, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> None:
        for _ in range(MAX_CHAIN):
            known = self.records.get(name) or self._wildcard(name)
            found = next((item for item in known or () if item.rdtype == kind), None)
            if found is not None:
                response.answer.append(found)
                return
            alias = next((item for item in known or () if item.rdtype == dns.rdatatype.CNAME), None)
            if alias is None:
                exists = known is not None or any(other.is_subdomain(name) for other in self.records)
                if not exists:
                    response.set_rcode(dns.rcode.NXDOMAIN)
                zone = name.parent() if len(name) > 1 else name
                response.authority.append(dns.rrset.from_text(zone, 60, "IN", "SOA", SOA))
                return
            response.answer.append(alias)
            name = alias[0].target

    def _wildcard(self, name: dns.name.Name) -> list[dns.rrset.RRset] | None:
        """RFC 4592, one level: the records of `*` beside a name that isn't there, under that name."""
        if len(name) < 2 or any(other.is_subdomain(name) for other in self.records):
            return None
        known = self.records.get(dns.name.from_text("*", name.parent()))
        return known and [dns.rrset.from_rdata_list(name, item.ttl, list(item)) for item in known]

    def _fault(self, name: dns.name.Name) -> Fault | None:
        return next((fault for text, fault in self.faults.items() if name.is_subdomain(dns.name.from_text(text))), None)


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self._server.answer(data, udp=True)
        if answer is not None and self._transport is not None:
            self._transport.sendto(answer, addr)


@asynccontextmanager
async def dns_server(zone: str, *, port: int = 0) -> AsyncIterator[DnsServer]:
    """Serves a zone on a free port of 127.0.0.1, or on this one."""
    server = DnsServer(zone)
    loop = asyncio.get_running_loop()

    async def tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            size = int.from_bytes(await reader.readexactly(2), "big")
            answer = server.answer(await reader.readexactly(size), udp=False)
            if answer is not None:
                writer.write(len(answer).to_bytes(2, "big") + answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client gave up
        finally:
            writer.close()

    listener = await asyncio.start_server(tcp, "127.0.0.1", port)
    port = listener.sockets[0].getsockname()[1]
    transport, _ = await loop.create_datagram_endpoint(lambda: _Udp(server), local_addr=("127.0.0.1", port))
    server.address = f"127.0.0.1:{port}"
    try:
        yield server
    finally:
        transport.close()
        listener.close()
