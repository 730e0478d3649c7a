"""``mailboatctl trace``: what has happened to a message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console

from mailboatctl.client import segment
from mailboatctl.context import connect
from mailboatctl.output import AsJson, out, print_json, print_table, show_time
from mailboatctl.timeline import Event, timeline


def trace(
    trace_id: Annotated[str, typer.Argument(metavar="ID", help="From the 250 reply or the Received header.")],
    as_json: AsJson = False,
) -> None:
    """Follow a message by the id its 250 reply named: when, seconds after the first octet, which service, what."""
    with connect() as api:
        found = api.call("GET", f"/v1/trace/{segment(trace_id)}")
    if as_json:
        print_json(found)
    else:
        print_timeline(found["events"])


def print_timeline(events: Sequence[Event], console: Console = out) -> None:
    """The events as a table of times, services and what happened."""
    rows = [
        {"time": show_time(line.at), "since": line.delta, "service": line.service, "what": line.text}
        for line in timeline(events)
    ]
    columns = [(title, lambda row, key=key: row[key]) for title, key in TITLES.items()]
    print_table(columns, rows, console)


TITLES = {"time": "time", "+s": "since", "service": "service", "what": "what"}
