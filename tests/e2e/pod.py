"""Runs in a pod: the load of tests/faults against the Services of an installation, and its judge's verdict.

Standard library only, with the modules of tests/faults beside it; the image is storage_api's, whose Python it borrows.
Being in the cluster it reaches Services as any pod does, whatever becomes of the pods behind them.

Environment: SMTP and IMAPS (host:port), CA_FILE, ACCOUNTS_FILE (JSON: [{"address", "password"}, ...]), SEED, STOP_FILE.
It writes JSON lines: {"status": {...}} about every second, and once STOP_FILE exists {"verdict": {...}} as the last.
Exit status 0: nothing is wrong.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import ssl
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.faults.auditor import Ledger
from tests.faults.clients import Endpoint
from tests.faults.load import Account, Load, Mix, Sites

STATUS_SECONDS = 1.0
SILENCE_SECONDS = 1.0


def silences(ledger: Ledger) -> list[dict[str, float]]:
    """Times without an acknowledged message: when each began (seconds since the epoch), and its length in seconds."""
    moments = sorted(message.acked for message in ledger.messages.values() if message.acked is not None)
    to_epoch = time.time() - time.monotonic()
    return [
        {"at": round(earlier + to_epoch, 1), "seconds": round(later - earlier, 2)}
        for earlier, later in itertools.pairwise(moments)
        if later - earlier >= SILENCE_SECONDS
    ]


def tell(kind: str, facts: dict[str, Any]) -> None:
    """One line for whoever reads the pod's log."""
    sys.stdout.write(json.dumps({kind: facts}) + "\n")
    sys.stdout.flush()


def endpoint(text: str, tls: ssl.SSLContext | None = None) -> Endpoint:
    """host:port."""
    host, _, port = text.rpartition(":")
    return Endpoint(host, int(port), tls)


def prepared() -> tuple[Load, Callable[[], bool]]:
    """The load, and whether it shall stop, as the environment says."""
    environ = os.environ
    tls = ssl.create_default_context(cafile=environ["CA_FILE"])
    sites = Sites((endpoint(environ["SMTP"]),), (endpoint(environ["IMAPS"], tls),))
    accounts = [Account(**row) for row in json.loads(Path(environ["ACCOUNTS_FILE"]).read_text())]
    return Load(sites, accounts, int(environ["SEED"]), Mix(pause=0.05)), Path(environ["STOP_FILE"]).exists


async def run(load: Load, told_to_stop: Callable[[], bool]) -> int:
    """Load until told to stop, then the verdict."""
    await load.start()
    while not told_to_stop():  # a file, touched from outside: nothing here could wake us
        tell("status", status(load))
        await asyncio.sleep(STATUS_SECONDS)
    await load.stop()
    findings = [str(finding) for finding in await load.verdict()]
    facts = {"figures": load.figures(), "silences": silences(load.ledger), "findings": findings}
    tell("verdict", status(load) | facts)
    await load.close()
    return 1 if findings else 0


def status(load: Load) -> dict[str, Any]:
    """What was done so far."""
    ledger = load.ledger
    messages = ledger.messages.values()
    return {
        "acknowledged": sum(message.acked is not None for message in messages),
        "offered_again": sum(message.offers > 1 for message in messages),
        "slowest": round(max((m.acked - m.began for m in messages if m.acked is not None), default=0.0), 2),
        "changes": sum(change.acked is not None for change in ledger.changes),
        "expunged": sum(removal.acked is not None for removal in ledger.removals),
        "watched": sum(len(watch.seen_at) for watch in load.watches),
    }


if __name__ == "__main__":
    sys.exit(asyncio.run(run(*prepared())))
