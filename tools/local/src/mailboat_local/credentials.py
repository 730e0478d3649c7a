"""Secrets of one stack: tokens between the services, the first REST token, the demo accounts' passwords."""

from __future__ import annotations

import json
import secrets

from mailboat_local.layout import CALLERS, Layout
from mailboat_local.process import write_private

BOOTSTRAP = "bootstrap"
CALLERS_FILE = "callers.json"


def ensure(layout: Layout, rest_port: int) -> None:
    """Make what is missing; ``callers.json`` (for storage_api) and ``credentials.env`` follow from the single files."""
    for name in (*CALLERS, BOOTSTRAP, "demo-alice", "demo-bob"):
        path = layout.tokens / name
        if not path.exists():
            write_private(path, secrets.token_urlsafe(32 if name in CALLERS else 24) + "\n")
    callers = {name: [_read(layout, name)] for name in CALLERS}
    write_private(layout.tokens / CALLERS_FILE, json.dumps(callers, indent=2) + "\n")
    lines = {
        "MB_API_URL": f"http://127.0.0.1:{rest_port}",
        "MB_API_TOKEN": _read(layout, BOOTSTRAP),
        "DEMO_ALICE_PASSWORD": _read(layout, "demo-alice"),
        "DEMO_BOB_PASSWORD": _read(layout, "demo-bob"),
    }
    write_private(layout.credentials, "".join(f"{name}={value}\n" for name, value in lines.items()))


def load(layout: Layout) -> dict[str, str]:
    """The lines of ``credentials.env``."""
    lines = layout.credentials.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def _read(layout: Layout, name: str) -> str:
    return (layout.tokens / name).read_text().strip()
