"""``mailboatctl domain``: the domains mail is accepted for."""

from __future__ import annotations

from typing import Annotated

import typer

from mailboatctl.client import segment
from mailboatctl.commands import domain_dns
from mailboatctl.context import connect
from mailboatctl.days import parse_days, show_days
from mailboatctl.errors import WrongUse
from mailboatctl.output import AsJson, Column, print_json, print_table, say

app = typer.Typer(help="Domains.", no_args_is_help=True)
domain_dns.register(app)
Name = Annotated[str, typer.Argument(help="Such as example.org")]

COLUMNS: tuple[Column, ...] = (
    ("domain", lambda item: item["name"]),
    ("pop3 retention", lambda item: show_days(item.get("pop3_retention_days"), "never")),
)


@app.command()
def add(name: Name, as_json: AsJson = False) -> None:
    """Accept mail for a domain."""
    with connect() as api:
        domain = api.call("POST", "/v1/domains", {"name": name})
    print_json(domain) if as_json else say(f"{domain['name']} added.")


@app.command("list")
def show(as_json: AsJson = False) -> None:
    """List the domains."""
    with connect() as api:
        domains = list(api.items("/v1/domains"))
    if as_json:
        print_json(domains)
    else:
        print_table(COLUMNS, domains)


@app.command("pop3-retention")
def pop3_retention(
    name: Name,
    days: Annotated[str, typer.Argument(help="0 to 3650 (0: at QUIT), or never")],
    as_json: AsJson = False,
) -> None:
    """Set after how many days a message that POP3 retrieved is removed, for accounts without days of their own.

    It counts from the first retrieval, also if that was before the setting was made.
    """
    try:
        given = parse_days(days, {"never": None})
    except ValueError as error:
        raise WrongUse(f"{error}.") from error
    with connect() as api:
        domain = api.call("PATCH", f"/v1/domains/{segment(name)}", {"pop3_retention_days": given})
    print_json(domain) if as_json else say(f"{domain['name']} has a POP3 retention of {days}.")


@app.command()
def rm(name: Name, as_json: AsJson = False) -> None:
    """Remove a domain that has no accounts, aliases and groups."""
    with connect() as api:
        api.call("DELETE", f"/v1/domains/{segment(name)}")
    print_json({"name": name, "removed": True}) if as_json else say(f"{name} removed.")
