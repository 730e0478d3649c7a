"""The corpus of odd messages: `odd_messages.txt` beside the tests of mailboat_mime, with what FETCH says of each.

### name            a message begins; a second word is its encoding (UTF-8 without one)
# ...               why it is odd, and where Dovecot 2.3 answers otherwise
lines               the message; in the file lines end with LF, in the message with CRLF
\\                   alone on the last line: the message ends without a line end
>>> (...)           BODYSTRUCTURE, with \\r\\n written so where a literal begins
>>> (...)           ENVELOPE
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.support.documents import ROOT

CORPUS = ROOT / "libs/mime/tests/odd_messages.txt"


@dataclass(frozen=True, slots=True)
class OddMessage:
    """One message and what is to be said of it."""

    name: str
    content: bytes
    bodystructure: bytes
    envelope: bytes


def odd_messages() -> list[OddMessage]:
    """All of the corpus, in its order."""
    found = []
    for entry in CORPUS.read_text("utf-8").split("\n### ")[1:]:
        title, *lines = entry.rstrip("\n").split("\n")
        name, _, encoding = title.partition(" ")
        while lines[0].startswith("# "):
            del lines[0]
        *lines, bodystructure, envelope = lines
        ended = not lines or lines[-1] != "\\"
        text = "\r\n".join(lines if ended else lines[:-1]) + ("\r\n" if lines and ended else "")
        answers = [
            line.removeprefix(">>> ").replace("\\r\\n", "\r\n").encode(encoding or "utf-8")
            for line in (bodystructure, envelope)
        ]
        found.append(OddMessage(name, text.encode(encoding or "utf-8"), answers[0], answers[1]))
    return found
