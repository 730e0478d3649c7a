"""Plays transcripts against any IMAP server over TLS: connection n goes to the n-th server, round robin.

    python -m tests.transcripts --user U --password-file F [--ca CA.pem] [--file FILE.txt] HOST:PORT [HOST:PORT …]

The account is used up: its INBOX and the mailboxes the transcripts name are emptied. Transcripts with an operator in
them (`account` lines) are passed over.
"""

from __future__ import annotations

import argparse
import asyncio
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support.imap import Client
from tests.transcripts.player import Player, TranscriptError, parse


async def play(files: Sequence[Path], servers: Sequence[str], user: str, password: str, tls: ssl.SSLContext) -> int:
    """How many of the transcripts failed; each gets a line."""

    async def connect(number: int) -> Client:
        host, _, port = servers[(number - 1) % len(servers)].rpartition(":")
        client = Client(*await asyncio.open_connection(host, int(port), ssl=tls))
        if not (await client.response()).startswith(b"* OK"):
            raise TranscriptError("no greeting")
        return client

    failed = 0
    for path in files:
        if any(step.kind == "account" for step in parse(path.read_text("utf-8"))):
            print(f"passed over  {path.stem}")
            continue
        try:
            await Player(connect, user, password).play(path)
        except (TranscriptError, OSError) as error:
            failed += 1
            print(f"failed  {path.stem}: {error}")
        else:
            print(f"ok      {path.stem}")
    return failed


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.transcripts", description=__doc__)
    parser.add_argument("servers", nargs="+", metavar="HOST:PORT")
    parser.add_argument("--user", required=True)
    parser.add_argument("--password-file", type=Path, required=True)
    parser.add_argument("--ca", type=Path)
    parser.add_argument("--file", type=Path, action="append", default=[], help="only this transcript (repeatable)")
    given = parser.parse_args()
    files = given.file or sorted(Path(__file__).parent.glob("*.txt"))
    tls = ssl.create_default_context(cafile=given.ca)
    password = given.password_file.read_text("utf-8").strip()
    failed = asyncio.run(play(files, given.servers, given.user, password, tls))
    sys.exit(f"{failed} of {len(files)} failed" if failed else 0)


if __name__ == "__main__":
    main()
