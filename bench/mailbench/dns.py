"""A DNS server for `outbound`: N destination domains, each with a mail host of its own on a loopback address (RFC 1035).

`dK.sink.example` has MX `mx.dK.sink.example`, which has the address `address(K)`; everything else isn't there.
"""
import asyncio
import ipaddress
import re
import struct

A, MX = 1, 15
TTL = 300
NAME = re.compile(r"(mx\.)?d(\d+)\.sink\.example")


def address(number):
    """The loopback address of destination `number`: 127.0.1.1, 127.0.1.2, ..."""
    return str(ipaddress.IPv4Address("127.0.1.0") + number // 250 * 256 + number % 250 + 1)


def encode_name(name):
    return b"".join(bytes([len(label)]) + label for label in name.encode().split(b".")) + b"\0"


def question(query):
    """(name, type, octets of the question) of a query with one question."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]])
        at += 1 + query[at]
    return b".".join(labels).decode("ascii", "replace").lower(), struct.unpack_from("!H", query, at + 1)[0], query[12:at + 5]


def respond(query, domains):
    name, kind, asked = question(query)
    known = NAME.fullmatch(name)
    exists = bool(known) and int(known[2]) < domains
    data = None
    if exists and kind == MX and not known[1]:
        data = struct.pack("!H", 10) + encode_name("mx." + name)
    elif exists and kind == A and known[1]:
        data = ipaddress.IPv4Address(address(int(known[2]))).packed
    answer = b"" if data is None else b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, TTL, len(data)) + data
    flags = 0x8580 if exists else 0x8583  # authoritative, recursion available; NXDOMAIN
    return query[:2] + struct.pack("!HHHHH", flags, 1, int(data is not None), 0, 0) + asked + answer


class Dns(asyncio.DatagramProtocol):
    """`await Dns.start(port, domains)` serves on 127.0.0.1 until `close`."""

    def __init__(self, domains):
        self.domains = domains

    @classmethod
    async def start(cls, port, domains):
        _, self = await asyncio.get_running_loop().create_datagram_endpoint(lambda: cls(domains), local_addr=("127.0.0.1", port))
        return self

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, source):
        self.transport.sendto(respond(data, self.domains), source)

    def close(self):
        self.transport.close()
