"""``mailboatctl domain dns``, ``check``, ``dkim``: a domain's DNS records and DKIM keys."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from rich.text import Text

from mailboatctl.client import segment
from mailboatctl.context import connect
from mailboatctl.output import AsJson, Column, out, print_json, print_table, say, show_time

Name = Annotated[str, typer.Argument(help="Such as example.org")]

KEYS: tuple[Column, ...] = (
    ("selector", lambda key: key["selector"]),
    ("algorithm", lambda key: key["algorithm"]),
    ("state", lambda key: key["state"]),
    ("signs since", lambda key: show_time(key["activated_at"]) if key["activated_at"] else None),
    ("removed", lambda key: show_time(key["retires_at"]) if key["retires_at"] else None),
)
LEVELS = {"ok": "green", "hint": "cyan", "warning": "yellow", "error": "bold red"}


def dns(name: Name, as_json: AsJson = False) -> None:
    """Print the DNS records to publish for a domain, as a zone file."""
    with connect() as api:
        published = api.call("GET", f"/v1/domains/{segment(name)}/dns")
    print_json(published) if as_json else sys.stdout.write(published["zone"])


def check(
    name: Name,
    everything: Annotated[bool, typer.Option("--all", help="Show also what is as it should be.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare a domain's DNS records with those to publish, and explain each difference.

    Exit status 1 if there is an error: mail is lost, refused or not believed. Warnings and hints don't count.
    """
    with connect() as api:
        checked = api.call("GET", f"/v1/domains/{segment(name)}/dns/check")
    if as_json:
        print_json(checked)
    else:
        for finding in checked["findings"]:
            if everything or finding["level"] != "ok":
                _show(finding)
        count = {level: sum(one["level"] == level for one in checked["findings"]) for level in LEVELS}
        rest = ", ".join(f"{count[level]} {level}s" for level in ("hint", "warning", "error"))
        say(f"{count['ok']} as they should be, {rest}.")
    if not checked["ok"]:
        raise typer.Exit(1)


def _show(finding: dict[str, Any]) -> None:
    level = finding["level"]
    out.print(Text.assemble((f"{level:<8}", LEVELS.get(level, "")), f"{finding['topic']} {finding['name']}"))
    say(f"        {finding['text']}")
    if level != "ok":
        for found in finding["found"]:
            say(f"        found:    {found}")
        if finding["expected"]:
            say(f"        expected: {finding['expected']}")


def dkim(name: Name, as_json: AsJson = False) -> None:
    """List a domain's DKIM keys: which sign, which wait to be published, which are on their way out."""
    with connect() as api:
        answer = api.call("GET", f"/v1/domains/{segment(name)}/dkim")
    _print_keys(answer, as_json)


def dkim_rotate(name: Name, as_json: AsJson = False) -> None:
    """Make new DKIM keys, and print the records to publish.

    They sign as soon as DNS has them, which the platform looks for every five minutes; the old ones stay published
    until they are no longer listed.
    """
    with connect() as api:
        answer = api.call("POST", f"/v1/domains/{segment(name)}/dkim/rotate")
        published = api.call("GET", f"/v1/domains/{segment(name)}/dns")
    if as_json:
        print_json(answer)
        return
    pending = {key["name"] for key in answer["keys"] if key["state"] == "pending"}
    for record in published["records"]:
        if record["name"] in pending:
            strings = " ".join(f'"{string}"' for string in record["strings"])
            sys.stdout.write(f"{record['name']}. {record['ttl']} IN TXT {strings}\n")


def dkim_activate(name: Name, as_json: AsJson = False) -> None:
    """Sign with the pending DKIM keys from now on, whatever DNS says."""
    with connect() as api:
        answer = api.call("POST", f"/v1/domains/{segment(name)}/dkim/activate")
    _print_keys(answer, as_json)


def _print_keys(answer: dict[str, Any], as_json: bool) -> None:
    print_json(answer) if as_json else print_table(KEYS, answer["keys"])


def register(app: typer.Typer) -> None:
    """Puts the commands under ``domain``."""
    app.command()(dns)
    app.command()(check)
    app.command()(dkim)
    app.command("dkim-rotate")(dkim_rotate)
    app.command("dkim-activate")(dkim_activate)
