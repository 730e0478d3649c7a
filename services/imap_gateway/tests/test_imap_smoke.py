"""A session from greeting to logout, against the in-memory store."""

from tests.support.imap import imap_gateway

MESSAGE = b"From: a@example.test\r\nSubject: hello\r\n\r\nbody\r\n"


async def test_a_session() -> None:
    async with imap_gateway() as running:
        client = await running.session("INBOX")
        assert b"[APPENDUID" in await client.append("INBOX", MESSAGE, "\\Flagged")
        assert await client.ok("FETCH 1 (FLAGS BODY.PEEK[])") == [
            b"* 1 FETCH (FLAGS (\\Flagged \\Recent) BODY[] {%d}\r\n%b)" % (len(MESSAGE), MESSAGE)
        ]
        assert await client.ok("UID FETCH 1:* FLAGS") == [b"* 1 FETCH (UID 1 FLAGS (\\Flagged \\Recent))"]
        other = await running.session("INBOX")
        other.send(b"i IDLE\r\n")
        assert await other.response() == b"+ idling"
        await client.ok("STORE 1 +FLAGS (\\Deleted)")
        assert await other.response() == b"* 1 FETCH (UID 1 FLAGS (\\Flagged \\Deleted \\Recent))"
        assert await client.ok("EXPUNGE") == [b"* 1 EXPUNGE"]
        assert await other.response() == b"* 1 EXPUNGE"
        other.send(b"DONE\r\n")
        assert await other.response() == b"i OK Idle ended"
        lines = await client.command("LOGOUT")
        assert lines[0] == b"* BYE Logging out"
        assert await client.response() == b""
