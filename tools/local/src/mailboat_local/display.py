"""The progress display while the stack becomes ready: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from mailboat_local.stack import Progress as Report


@contextlib.contextmanager
def readiness(console: Console) -> Iterator[Report]:
    """Yields what ``Stack.up`` reports to."""
    if console.is_terminal:
        with _bar(console) as report:
            yield report
    else:
        yield _lines(console)


@contextlib.contextmanager
def _bar(console: Console) -> Iterator[Report]:
    columns = (
        SpinnerColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting")

        def report(waiting: Mapping[str, str]) -> None:
            late = [name for name, what in waiting.items() if what]
            text = f"waiting for {', '.join(late)}" if late else "ready"
            progress.update(task, total=len(waiting), completed=len(waiting) - len(late), description=text)

        yield report


def _lines(console: Console) -> Report:
    ready: set[str] = set()

    def report(waiting: Mapping[str, str]) -> None:
        for name, what in waiting.items():
            if not what and name not in ready:
                ready.add(name)
                console.print(f"{name} is ready", highlight=False)

    return report
