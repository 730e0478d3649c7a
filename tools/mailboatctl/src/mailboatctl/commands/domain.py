"""``mailboatctl domain``: the domains mail is accepted for."""

from __future__ import annotations

from typing import Annotated

import typer

from mailboatctl.client import segment
from mailboatctl.context import connect
from mailboatctl.output import AsJson, print_json, print_table, say

app = typer.Typer(help="Domains.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Such as example.org")]


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
        print_table([("domain", lambda item: item["name"])], domains)


@app.command()
def rm(name: Name, as_json: AsJson = False) -> None:
    """Remove a domain that has no accounts."""
    with connect() as api:
        api.call("DELETE", f"/v1/domains/{segment(name)}")
    print_json({"name": name, "removed": True}) if as_json else say(f"{name} removed.")
