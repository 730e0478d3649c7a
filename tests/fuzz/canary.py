"""Another user beside an attack, in a process of its own: how long do the services take to answer it?

    python -m tests.fuzz.canary < configuration       until the standard input ends

The first line of the input is JSON: hosts' ports, the authority's file, login, password, token. The output is JSON: for
each service the number of answers, the median, the 99th percentile and the longest in milliseconds.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, BinaryIO

SOURCE = "127.9.9.9"  # limits by address are this user's own
SECONDS = 30.0
PAUSE_SECONDS = 0.01


class Line:
    """A blocking session of lines."""

    def __init__(self, port: int, tls: ssl.SSLContext | None) -> None:
        raw = socket.create_connection(("127.0.0.1", port), SECONDS, source_address=(SOURCE, 0))
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = raw if tls is None else tls.wrap_socket(raw, server_hostname="localhost")
        self.file: BinaryIO = self.socket.makefile("rb")
        self.file.readline()

    def ask(self, text: str, end: bytes) -> None:
        """Until a line begins with `end`; any other end of the session is an error."""
        self.socket.sendall(text.encode() + b"\r\n")
        while not (line := self.file.readline()).startswith(end):
            if not line:
                raise ConnectionError(f"closed at {text.split(maxsplit=1)[0]}")


def imap(given: dict[str, Any], tls: ssl.SSLContext) -> Callable[[], None]:
    session = Line(given["imaps"], tls)
    session.ask(f'a LOGIN {given["login"]} "{given["password"]}"', b"a OK")
    return lambda: session.ask("a STATUS INBOX (MESSAGES)", b"a OK")


def pop3(given: dict[str, Any], tls: ssl.SSLContext) -> Callable[[], None]:
    session = Line(given["pop3s"], tls)
    session.ask(f"USER {given['login']}", b"+OK")
    session.ask(f"PASS {given['password']}", b"+OK")
    return lambda: session.ask("NOOP", b"+OK")


def smtp(given: dict[str, Any], _tls: ssl.SSLContext) -> Callable[[], None]:
    session = Line(given["smtp"], None)
    session.ask("HELO canary.example", b"250")

    def recipient() -> None:
        session.ask("MAIL FROM:<canary@elsewhere.example>", b"250")
        session.ask(f"RCPT TO:<{given['login']}>", b"250")
        session.ask("RSET", b"250")

    return recipient


def rest(given: dict[str, Any], _tls: ssl.SSLContext) -> Callable[[], None]:
    connection = http.client.HTTPConnection("127.0.0.1", given["rest"], timeout=SECONDS)

    def domains() -> None:
        connection.request("GET", "/v1/domains", headers={"Authorization": f"Bearer {given['token']}"})
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise ConnectionError(f"HTTP {answer.status}")

    return domains


USERS = {"imap": imap, "pop3": pop3, "smtp": smtp, "rest": rest}


def ask_on(ask: Callable[[], None], over: threading.Event, took: list[float], faults: list[str]) -> None:
    """Ask again and again."""
    try:
        while not over.wait(PAUSE_SECONDS):
            start = time.perf_counter()
            ask()
            took.append(1000 * (time.perf_counter() - start))
    except (OSError, http.client.HTTPException) as error:
        faults.append(repr(error))


def summary(ascending: list[float]) -> dict[str, float | None]:
    """Number, median, 99th percentile and longest."""
    last = len(ascending) - 1
    at = {f"p{share}": round(ascending[share * last // 100], 1) if ascending else None for share in (50, 99, 100)}
    return {"count": len(ascending), "p50": at["p50"], "p99": at["p99"], "max": at["p100"]}


def main() -> None:
    given = json.loads(sys.stdin.readline())
    tls = ssl.create_default_context(cafile=given["ca"])
    over, took, faults = threading.Event(), {name: list[float]() for name in USERS}, list[str]()
    threads = [
        threading.Thread(target=ask_on, args=(make(given, tls), over, took[name], faults))
        for name, make in USERS.items()
    ]
    for thread in threads:
        thread.start()
    print("ready", flush=True)
    sys.stdin.read()
    over.set()
    for thread in threads:
        thread.join()
    figures = {name: summary(sorted(values)) for name, values in took.items()}
    print(json.dumps({"figures": figures, "faults": faults}))


if __name__ == "__main__":
    main()
