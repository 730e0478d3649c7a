"""Results for people (tables) or for programs (``--json``: one document on stdout)."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Column = tuple[str, Callable[[Mapping[str, Any]], object]]

WIDE = 2000  # a pipe has no width: tables are as wide as what is in them
out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDE)
err = Console(stderr=True, highlight=False, soft_wrap=True, width=None if sys.stderr.isatty() else WIDE)


def print_json(value: object) -> None:
    """One JSON document and a line's end."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_json_line(value: object) -> None:
    """One JSON document on one line, shown at once."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def print_table(columns: Iterable[Column], items: Iterable[Mapping[str, Any]], console: Console = out) -> None:
    """A table; the values are data, never markup."""
    columns = list(columns)
    table = Table(*(title for title, _ in columns), box=None, pad_edge=False)
    for item in items:
        table.add_row(*(Text(_shown(value(item))) for _, value in columns))
    console.print(table)


def print_fields(item: Mapping[str, Any]) -> None:
    """Name and value, a line each."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in item.items():
        table.add_row(Text(name, style="bold"), Text(_shown(value)))
    out.print(table)


def show_time(milliseconds: int) -> str:
    """A moment, given in milliseconds since the epoch, in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(" ", "milliseconds").replace("+00:00", "Z")


def say(text: str) -> None:
    """One line for a person."""
    out.print(Text(text))


def _shown(value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_shown(item) for item in value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)
