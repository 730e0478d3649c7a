"""``mailboatctl trace``: what has happened to a message."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mailboatctl.client import segment
from mailboatctl.context import connect
from mailboatctl.output import AsJson, print_json, print_table, show_time

LEADING = ("at", "kind", "details")


def trace(
    trace_id: Annotated[str, typer.Argument(metavar="ID", help="From the 250 reply or the Received header.")],
    as_json: AsJson = False,
) -> None:
    """Follow a message by the id its 250 reply named."""
    with connect() as api:
        found = api.call("GET", f"/v1/trace/{segment(trace_id)}")
    if as_json:
        print_json(found)
        return
    print_table(
        [("time", lambda item: show_time(item["at"])), ("event", lambda item: item["kind"]), ("details", _details)],
        found["events"],
    )


def _details(event: Any) -> str:
    values = {key: value for key, value in event.items() if key not in LEADING} | (event.get("details") or {})
    return " ".join(f"{key}={value}" for key, value in values.items() if value not in (None, ""))
