"""The processes' logs for a person: followed across files, one colour per process, JSON made readable."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from mailboat_local.layout import Layout

COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "bright_red", "bright_cyan", "bright_magenta")
LEVEL_STYLES = {"warning": "yellow", "error": "red", "critical": "bold red"}
MONGOD_LEVELS = {"I": "info", "W": "warning", "E": "error", "F": "critical"}
SHOWN_ELSEWHERE = ("timestamp", "level", "event", "service", "module")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a log: level is "" where the process doesn't say."""

    level: str
    text: str


class Follower:
    """Reads what the logs have gained since the last look."""

    def __init__(self, layout: Layout, names: Iterable[str], from_end: bool) -> None:
        self._files = {name: layout.log_file(name) for name in names}
        self._offsets = {name: _size(path) if from_end else 0 for name, path in self._files.items()}
        self._partial: dict[str, bytes] = {}

    def new_lines(self) -> Iterator[tuple[str, str]]:
        """(name, line) in the order of the names; a line that isn't finished waits for its end."""
        for name, path in self._files.items():
            size = _size(path)
            if size < self._offsets[name]:  # rotated
                self._offsets[name] = 0
            if size == self._offsets[name]:
                continue
            with path.open("rb") as stream:
                stream.seek(self._offsets[name])
                data = self._partial.pop(name, b"") + stream.read()
                self._offsets[name] = stream.tell()
            *lines, rest = data.split(b"\n")
            if rest:
                self._partial[name] = rest
            for line in lines:
                yield name, line.decode(errors="replace")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def readable(line: str) -> Line:
    """A JSON line of a service or of mongod as "time event key=value ..."; any other line as it is."""
    try:
        record = json.loads(line)
    except ValueError:
        return Line("", line)
    if not isinstance(record, dict):
        return Line("", line)
    if isinstance(record.get("t"), dict) and "msg" in record:
        attributes = " ".join(f"{key}={_short(value)}" for key, value in (record.get("attr") or {}).items())
        return Line(MONGOD_LEVELS.get(str(record.get("s")), ""), f"{record['msg']} {attributes}".rstrip())
    values = " ".join(f"{key}={_short(value)}" for key, value in record.items() if key not in SHOWN_ELSEWHERE)
    time_of_day = str(record.get("timestamp", ""))[11:23]
    text = " ".join(part for part in (time_of_day, str(record.get("event", "")), values) if part)
    return Line(str(record.get("level", "")), text)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return text if len(text) <= 200 else text[:200] + "..."


class Printer:
    """Prints lines with their process's name and colour."""

    def __init__(self, console: Console, names: Iterable[str], raw: bool = False, quiet_servers: bool = False) -> None:
        """``quiet_servers``: of mongod, epmd and RabbitMQ show errors only."""
        known = list(names)
        self._console = console
        self._colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(known)}
        self._width = max((len(name) for name in known), default=0)
        self._raw = raw
        self._quiet_servers = quiet_servers

    def show(self, name: str, line: str) -> None:
        """Print one line, or not, if it is of a server that should be quiet."""
        parsed = Line("", line) if self._raw else readable(line)
        if self._quiet_servers and name.startswith(("mongod-", "epmd-", "rabbitmq-")):
            loud = parsed.level in ("error", "critical") or "[error]" in line or "[critical]" in line
            if not loud:
                return
        text = Text(f"{name:<{self._width}} | ", style=self._colours.get(name, ""), end="")
        text.append(parsed.text, style=LEVEL_STYLES.get(parsed.level, "default"))
        self._console.print(text, soft_wrap=True, highlight=False)
