"""``mailboatctl alias``: further addresses of accounts."""

from __future__ import annotations

from typing import Annotated

import typer

from mailboatctl.client import segment
from mailboatctl.context import connect
from mailboatctl.output import AsJson, Column, print_json, print_table, say

app = typer.Typer(help="Aliases: further addresses of accounts.", no_args_is_help=True)
Address = Annotated[str, typer.Argument(help="The alias, such as sales@example.org")]

COLUMNS: tuple[Column, ...] = (
    ("alias", lambda item: item["address"]),
    ("account", lambda item: item["account"]),
)


@app.command()
def add(
    address: Address,
    account: Annotated[str, typer.Argument(help="The account's own address")],
    as_json: AsJson = False,
) -> None:
    """Give an account another address: it receives, sends and logs in with it."""
    with connect() as api:
        alias = api.call("POST", "/v1/aliases", {"address": address, "account": account})
    print_json(alias) if as_json else say(f"{alias['address']} leads to {alias['account']}.")


@app.command("list")
def show(
    domain: Annotated[str | None, typer.Option(help="Only this domain's.")] = None,
    account: Annotated[str | None, typer.Option(help="Only this account's.")] = None,
    as_json: AsJson = False,
) -> None:
    """List aliases."""
    query = {name: value for name, value in (("domain", domain), ("account", account)) if value}
    with connect() as api:
        aliases = list(api.items("/v1/aliases", query))
    print_json(aliases) if as_json else print_table(COLUMNS, aliases)


@app.command()
def rm(address: Address, as_json: AsJson = False) -> None:
    """Take an alias away; the account stays."""
    with connect() as api:
        api.call("DELETE", f"/v1/aliases/{segment(address)}")
    print_json({"address": address, "removed": True}) if as_json else say(f"{address} removed.")
