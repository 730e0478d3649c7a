"""``mailboatctl audit``: the proof that no accepted message is missing, doubled or out of place."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from mailboatctl.context import connect
from mailboatctl.errors import Unreachable
from mailboatctl.output import AsJson, err, print_json_line, say

Deep = Annotated[bool, typer.Option("--deep", help="Read every message's bytes too: slow, and finds damage.")]


def audit(deep: Deep = False, as_json: AsJson = False) -> None:
    """Check the whole store. Exit status 1 if there is a finding.

    With --json: one document a line, the findings first, then {"summary": ...}.
    """
    with connect() as api:
        findings, summary = _show(api.lines("POST", "/v1/audit?deep=true" if deep else "/v1/audit"), as_json)
    if not as_json:
        counts = ", ".join(f"{value} {name.replace('_', ' ')}" for name, value in summary.items() if name != "findings")
        say(f"Checked: {counts or 'nothing'}.")
        say(f"{findings} findings." if findings != 1 else "1 finding.")
    if findings:
        raise typer.Exit(1)


def _show(lines: Iterable[dict[str, Any]], as_json: bool) -> tuple[int, dict[str, Any]]:
    findings = 0
    with err.status("auditing ..."):
        for line in lines:
            if as_json:
                print_json_line(line)
            if "summary" in line:
                return findings, line["summary"]
            findings += 1
            if not as_json:
                details = " ".join(f"{name}={value}" for name, value in line.items() if name != "finding")
                say(f"{line.get('finding', 'finding')}: {details}")
    raise Unreachable("The audit ended without a summary: it was cut short, and says nothing about the rest.")
