"""``mailboatctl suppression``: addresses elsewhere that get no mail, and those that always may."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from mailboatctl.client import segment
from mailboatctl.context import connect
from mailboatctl.output import AsJson, Column, print_fields, print_json, print_table, say, show_time

app = typer.Typer(help="Addresses that get no mail.", no_args_is_help=True)
Recipient = Annotated[str, typer.Argument(metavar="ADDRESS", help="Such as bob@example.org")]
Note = Annotated[str, typer.Option(help="Why, for people.")]
Days = Annotated[int | None, typer.Option(min=1, max=3650, help="The entry ends after so many days.")]
DAY_MS = 24 * 3600 * 1000


def _until(entry: Mapping[str, Any]) -> str:
    return "removed" if entry["expires_at"] is None else show_time(entry["expires_at"])


COLUMNS: tuple[Column, ...] = (
    ("address", lambda item: item["address"]),
    ("kind", lambda item: item["kind"]),
    ("since", lambda item: show_time(item["at"])),
    ("until", _until),
    ("reason", lambda item: item["reply"] or item["reason"]),
)


@app.command("list")
def entries(
    kind: Annotated[str | None, typer.Option(help="Only suppressed, or only allowed.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the entries."""
    with connect() as api:
        items = list(api.items("/v1/suppressions", {"kind": kind} if kind else None))
    if as_json:
        print_json(items)
    else:
        print_table(COLUMNS, items)


@app.command()
def show(address: Recipient, as_json: AsJson = False) -> None:
    """Show an entry: what the remote server said, and the trace of the message."""
    with connect() as api:
        entry = api.call("GET", f"/v1/suppressions/{segment(address)}")
    if as_json:
        print_json(entry)
    else:
        print_fields(entry | {"at": show_time(entry["at"]), "expires_at": _until(entry)})


@app.command()
def add(address: Recipient, note: Note = "", days: Days = None, as_json: AsJson = False) -> None:
    """Send no mail to an address."""
    _put(address, "suppressed", note, days, as_json=as_json)


@app.command()
def allow(address: Recipient, note: Note = "", days: Days = None, as_json: AsJson = False) -> None:
    """Always send mail to an address, whatever its server says of it."""
    _put(address, "allowed", note, days, as_json=as_json)


@app.command()
def rm(address: Recipient, as_json: AsJson = False) -> None:
    """Remove an entry: mail goes to the address until its server calls it unknown."""
    with connect() as api:
        api.call("DELETE", f"/v1/suppressions/{segment(address)}")
    print_json({"address": address, "removed": True}) if as_json else say(f"{address} removed.")


def _put(address: str, kind: str, note: str, days: int | None, *, as_json: bool) -> None:
    body: dict[str, object] = {"kind": kind, "note": note}
    if days is not None:
        body["expires"] = str(time.time_ns() // 1_000_000 + days * DAY_MS)
    with connect() as api:
        entry = api.call("PUT", f"/v1/suppressions/{segment(address)}", body)
    print_json(entry) if as_json else say(f"{entry['address']} is {kind} until {_until(entry)}.")
