"""What the load's messages look like, and the little of IMAP's grammar that its commands need. Standard library only."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable

from tests.faults.clients import Done

FLAGS = ("\\Seen", "\\Flagged", "\\Answered", "$Forwarded", "paid")
SENDER = "sender@faults.example"
BOX = "INBOX"
ARCHIVE = "Archive"
GONE, LATER = "gone", "later"
"""First letters of recipients at other servers that are refused there, for good and for now."""


def archive_of(box: str) -> str:
    """The name in the ledger of the second mailbox of an account whose INBOX is `box`."""
    return f"{box} {ARCHIVE}"


def compose(token: str, rng: random.Random, picture: int | None = None, sender: str = SENDER) -> bytes:
    """A message: text of 50 to 6,000 octets with awkward lines; with an attachment of 150 KB, the same for a number."""
    head = (
        f"From: Sender <{sender}>\r\nTo: undisclosed-recipients:;\r\nSubject: message {token}\r\n"
        f"Date: Mon, 2 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{token}@faults.example>\r\nMIME-Version: 1.0\r\n"
    )
    lines = [".", "..", "From nobody", "plain text " * rng.randint(0, 6), "x" * rng.randint(0, 70)]
    text = "".join(f"{rng.choice(lines)}\r\n" for _ in range(rng.randint(3, 100)))
    if picture is None:
        return f"{head}Content-Type: text/plain\r\n\r\n{text}".encode()
    data = random.Random(picture).randbytes(75_000).hex()
    body = "\r\n".join(data[at : at + 76] for at in range(0, len(data), 76))
    return (
        f'{head}Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n{text}\r\n'
        f"--b\r\nContent-Type: application/octet-stream\r\n\r\n{body}\r\n--b--\r\n"
    ).encode()


def append_uid(done: Done) -> int:
    """The UID in `[APPENDUID validity uid]` (RFC 4315)."""
    return int(done.text.partition("APPENDUID ")[2].partition("]")[0].split()[1])


def uid_set(uids: Iterable[int]) -> str:
    """UIDs as commands take them."""
    return ",".join(map(str, sorted(uids)))


def expanded(text: str) -> list[int]:
    """The numbers of a sequence set without `*`, in the set's order (RFC 3501, sequence-set)."""
    numbers: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition(":")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


def copied_uids(done: Done) -> dict[int, int]:
    """UID -> UID of the copy, as COPYUID says in the tagged OK or, for a MOVE, in an untagged one (RFC 4315, 6851)."""
    texts = [done.text, *(response.text.decode(errors="replace") for response in done.untagged)]
    for text in texts:
        found = re.search(r"\[COPYUID \d+ (\S+) (\S+)\]", text)
        if found is not None:
            return dict(zip(expanded(found[1]), expanded(found[2]), strict=True))
    return {}
