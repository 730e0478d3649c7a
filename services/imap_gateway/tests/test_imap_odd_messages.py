"""Every odd message over the wire: what ENVELOPE and BODYSTRUCTURE say is in the grammar, and FETCH gives just that."""

from __future__ import annotations

from tests.support import bodygrammar
from tests.support.imap import imap_gateway
from tests.support.odd_messages import odd_messages


async def test_every_section_of_every_odd_message() -> None:
    async with imap_gateway() as running:
        client = await running.session("INBOX")
        for number, odd in enumerate(odd_messages(), 1):
            assert b" OK" in await client.append("INBOX", odd.content), odd.name
            await client.ok("NOOP")
            (line,) = await client.ok(f"FETCH {number} (ENVELOPE BODYSTRUCTURE)")
            assert line == b"* %d FETCH (ENVELOPE %b BODYSTRUCTURE %b)" % (number, odd.envelope, odd.bodystructure)
            for path, told in bodygrammar.structure(odd.bodystructure).sections():
                section = ".".join(map(str, path))
                (line,) = await client.ok(f"FETCH {number} BODY.PEEK[{section}]")
                head, _, octets = line.removesuffix(b")").partition(b"\r\n")
                assert head == b"* %d FETCH (BODY[%b] {%d}" % (number, section.encode(), len(octets)), odd.name
                assert told.parts or len(octets) == told.size, (odd.name, path)
                assert octets in odd.content
