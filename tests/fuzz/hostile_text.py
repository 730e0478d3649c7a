"""What the fuzz tests send: real commands and odd messages, broken at random, from a seed.

Seeds of the inputs are the client's lines of `tests/transcripts` (every command and item the gateway knows), the
messages of `libs/mime/tests/odd_messages.txt`, and the lists below. One case is one `random.Random`, so a seed and a
number give the same octets again.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.odd_messages import odd_messages
from tests.transcripts.player import parse

LEAST_CASES = 30  # however slow the machine is

OCTETS = (
    *(b"\0", b"\r", b"\n", b"\r\n", b"\n\r", b"\r\r\n", b".", b"\r\n.\r\n", b"\n.\n", b"\r.\r", b"\x1b", b"\x7f", b"\x80"),
    *(b"\xff\xfe", b"\xc3\x28", b"\xf0\x9f\x92\xa9", b"\xed\xa0\x80", b" ", b"  ", b"\t", b'"', b"\\", b'\\"', b"%", b"*"),
    *(b"(", b")", b"((((((((", b"))))", b"[", b"]", b"<", b">", b"@", b",", b":", b";", b"=", b"&", b"&-", b"&AGE-", b"~"),
    *(b"{0}", b"{3}\r\nabc", b"{3+}\r\nabc", b"~{2+}\r\n\0\0", b"{4294967296}", b"{4294967295+}", b"{99999999999999999999}"),
    *(b"0", b"-1", b"1:*", b"*:*", b"4294967295", b"4294967296", b"18446744073709551616", b"9" * 400, b"1," * 300 + b"1"),
    *(b"NIL", b"INBOX", b"A" * 3000, b"(" * 300, b"NOT " * 300, b"OR ALL " * 300, b"%s%n%x", b"../../etc/passwd", b"=?utf-8?q?=ff?="),
)  # fmt: skip

SMTP = (
    *(b"HELO a", b"EHLO client.example", b"EHLO [127.0.0.1]", b"EHLO [IPv6:::1]", b"NOOP x", b"RSET", b"HELP", b"VRFY a"),
    *(b"MAIL FROM:<>", b"MAIL FROM:<a@elsewhere.example> SIZE=100 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=x+2By"),
    *(b"MAIL FROM:<@a,@b:c@d.example>", b"MAIL FROM:<\xc3\xbc@elsewhere.example> SMTPUTF8", b'MAIL FROM:<"a b"@elsewhere.example>'),
    *(b"RCPT TO:<%a> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;a+2Bb@c.example", b"RCPT TO:<postmaster>", b"RCPT TO:<nobody@live.test>"),
    *(b"RCPT TO:<%a>", b"RCPT TO:<a@[127.0.0.1]>", b"RCPT TO:<a@[IPv6:::1]>", b"EXPN a", b"TURN", b"ETRN a", b"XCLIENT ADDR=1.2.3.4"),
    *(b"DATA", b"BDAT 4\r\nabcd", b"BDAT 0 LAST", b"BDAT 9999999999", b"BDAT 7 LAST\r\nA: b\r\n\r\n", b"BDAT -1", b"STARTTLS x"),
    *(b"AUTH PLAIN", b"AUTH LOGIN", b"AUTH PLAIN AGEAYg==", b"AUTH LOGIN YQ==", b"AUTH PLAIN =", b"AUTH CRAM-MD5", b"*", b"YQ=="),
    *(b"Subject: x\r\n\r\nbody\r\n.", b"Subject: x\n.\nMAIL FROM:<b@elsewhere.example>", b".", b"QUIT", b"GET / HTTP/1.1", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"),
)  # fmt: skip

POP3 = (
    *(b"USER %a", b"PASS wrong", b"APOP a b", b"AUTH", b"AUTH PLAIN", b"AUTH PLAIN AGEAYg==", b"AUTH LOGIN", b"*", b"YQ=="),
    *(b"CAPA", b"STAT", b"LIST", b"LIST 1", b"LIST 0", b"LIST 4294967296", b"UIDL", b"UIDL 1", b"RETR 1", b"RETR 99", b"TOP 1 0"),
    *(b"TOP 1 4294967295", b"TOP 1", b"TOP 1 -1", b"DELE 1", b"DELE 1 1", b"RSET", b"NOOP", b"UTF8", b"LANG en", b"STLS x", b"QUIT"),
)  # fmt: skip

HEADER = (
    *(b"Content-Type: multipart/mixed; boundary=b\r\n", b"Content-Type: message/rfc822\r\n", b"Content-Transfer-Encoding: base64\r\n"),
    *(b"\r\n--b\r\n", b"--b--\r\n", b"\r\n\r\n", b"To: g:a@b, c;\r\n", b"Date: Mon, 99 Foo 2026 25:61:61 +9999\r\n", b"Received: x\r\n"),
    *(b"Subject: =?utf-8?b?/////w==?= =?iso-2022-jp?b?GyRCJA==?=\r\n", b"; n*0*=utf-8''%ff; n*1=%zz", b"References: <a@b> <\r\n"),
)  # fmt: skip


def imap_commands() -> list[bytes]:
    """What clients send in the transcripts, without tags; `$name` stays as it is."""
    folder = Path(__file__).parents[1] / "transcripts"
    steps = [step for path in sorted(folder.glob("*.txt")) for step in parse(path.read_text("utf-8"))]
    return sorted({step.text.encode() for step in steps if step.kind == "C"})


class Hostile:
    """Makes input. `address` stands in for %a."""

    _imap = imap_commands()
    _messages = tuple(odd.content for odd in odd_messages())

    def __init__(self, rng: random.Random, address: str = "a@live.test") -> None:
        self.rng = rng
        self._address = address.encode()

    def broken(self, data: bytes) -> bytes:
        """Some octets taken out, doubled, exchanged or put in."""
        rng = self.rng
        for _ in range(rng.choice((0, 1, 1, 2, 4))):
            place, end = sorted((rng.randint(0, len(data)), rng.randint(0, len(data))))
            match rng.randrange(6):
                case 0:
                    data = data[:place] + data[min(end, place + 8) :]
                case 1:
                    data = data[:end] + data[place:end] * rng.choice((1, 1, 20)) + data[end:]
                case 2:
                    data = data[:place] + bytes([rng.randrange(256)]) + data[place + 1 :]
                case 3:
                    data = data[:end]
                case _:
                    data = data[:place] + rng.choice(OCTETS) + data[place:]
        return data[:60_000]

    def message(self) -> bytes:
        """An odd message, often odder."""
        return self.broken(self.rng.choice((*self._messages, b"".join(self.rng.choices(HEADER, k=12)))))

    def imap(self, commands: int) -> bytes:
        """Commands with tags; some with a message, some without an end."""
        rng, out = self.rng, []
        for number in range(rng.randint(1, commands)):
            text = self.broken(rng.choice(self._imap))
            if rng.random() < 0.1:
                content = self.message()
                text = b"APPEND INBOX {%d+}\r\n%b" % (len(content) + rng.choice((0, 0, 0, 1, -1)), content)
            out.append(b"f%d %b" % (number, text) if rng.random() < 0.95 else text)
        return b"\r\n".join(out) + rng.choice((b"\r\n", b"\r\n", b"\r\n", b"\n", b""))

    def smtp(self, commands: int) -> bytes:
        """Commands of SMTP, and message text."""
        return self._lines(SMTP, commands)

    def pop3(self, commands: int) -> bytes:
        """Commands of POP3."""
        return self._lines(POP3, commands)

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """The same octets in pieces of any size."""
        place = 0
        while place < len(data):
            size = self.rng.choice((1, 2, 3, 7, 64, 1000, 1 << 16))
            yield data[place : place + size]
            place += size

    def _lines(self, known: tuple[bytes, ...], commands: int) -> bytes:
        rng = self.rng
        lines = [
            self.message() if rng.random() < 0.03 else self.broken(rng.choice(known).replace(b"%a", self._address))
            for _ in range(rng.randint(1, commands))
        ]
        return b"\r\n".join(lines) + rng.choice((b"\r\n", b"\r\n", b"\r\n", b"\n", b""))


def cases(seed: int, seconds: float) -> Iterator[tuple[int, Hostile]]:
    """Number and source of each case, until the time is over; at least LEAST_CASES."""
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end or number < LEAST_CASES:
        yield number, Hostile(random.Random(f"{seed}:{number}"))
        number += 1
    print(f"{number} cases")


@contextmanager
def replayable(number: int, data: bytes) -> Iterator[None]:
    """An error inside says which case it was, and with what."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"case {number}, {len(data)} octets: {data[:2000]!r}")
        raise
