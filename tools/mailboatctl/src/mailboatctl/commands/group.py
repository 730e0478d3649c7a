"""``mailboatctl group``: addresses that lead to several."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mailboatctl.client import segment
from mailboatctl.context import connect
from mailboatctl.errors import WrongUse
from mailboatctl.output import AsJson, Column, print_fields, print_json, print_table, say, show_time

app = typer.Typer(help="Groups: addresses that lead to several.", no_args_is_help=True)
Address = Annotated[str, typer.Argument(metavar="GROUP", help="The group's address, such as team@example.org")]
Members = Annotated[list[str], typer.Argument(help="Addresses, here or elsewhere")]
WHO = "Who may write to it: anyone, members or domain. The owner always may."
OWNER = "Gets what members' servers return, instead of the senders"
NOBODY = "none"

COLUMNS: tuple[Column, ...] = (
    ("group", lambda item: item["address"]),
    ("members", lambda item: len(item["members"])),
    ("who may write", lambda item: item["who"]),
    ("owner", lambda item: item["owner"]),
)


@app.command()
def add(
    address: Address,
    members: Annotated[list[str] | None, typer.Argument(help="Addresses, here or elsewhere")] = None,
    who: Annotated[str, typer.Option(help=WHO)] = "anyone",
    owner: Annotated[str | None, typer.Option(help=f"{OWNER}.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a group."""
    request = {"address": address, "members": members or [], "who": who, "owner": owner}
    with connect() as api:
        group = api.call("POST", "/v1/groups", request)
    print_json(group) if as_json else say(f"{group['address']} added, with {len(group['members'])} members.")


@app.command("list")
def show_all(
    domain: Annotated[str | None, typer.Option(help="Only this domain's.")] = None, as_json: AsJson = False
) -> None:
    """List groups."""
    with connect() as api:
        groups = list(api.items("/v1/groups", {"domain": domain} if domain else {}))
    print_json(groups) if as_json else print_table(COLUMNS, groups)


@app.command()
def show(address: Address, as_json: AsJson = False) -> None:
    """Show one group with its members."""
    with connect() as api:
        group = api.call("GET", _path(address))
    if as_json:
        print_json(group)
    else:
        print_fields(group | {"members": " ".join(group["members"]), "created_at": show_time(group["created_at"])})


@app.command()
def change(
    address: Address,
    who: Annotated[str | None, typer.Option(help=WHO)] = None,
    owner: Annotated[str | None, typer.Option(help=f"{OWNER}; {NOBODY} for nobody.")] = None,
    as_json: AsJson = False,
) -> None:
    """Set who may write to a group, or its owner."""
    change: dict[str, Any] = {} if who is None else {"who": who}
    if owner is not None:
        change["owner"] = None if owner == NOBODY else owner
    if not change:
        raise WrongUse("Give --who or --owner.")
    with connect() as api:
        group = api.call("PATCH", _path(address), change)
    print_json(group) if as_json else say(f"{group['address']} changed.")


@app.command()
def join(address: Address, members: Members, as_json: AsJson = False) -> None:
    """Take addresses into a group."""
    with connect() as api:
        group = api.call("POST", f"{_path(address)}/members", {"members": members})
    print_json(group) if as_json else say(f"{group['address']} has {len(group['members'])} members.")


@app.command()
def leave(address: Address, members: Members, as_json: AsJson = False) -> None:
    """Take addresses out of a group."""
    with connect() as api:
        for member in members:
            group = api.call("DELETE", f"{_path(address)}/members/{segment(member)}")
    print_json(group) if as_json else say(f"{group['address']} has {len(group['members'])} members.")


@app.command()
def rm(address: Address, as_json: AsJson = False) -> None:
    """Take a group away; its members stay what they are."""
    with connect() as api:
        api.call("DELETE", _path(address))
    print_json({"address": address, "removed": True}) if as_json else say(f"{address} removed.")


def _path(address: str) -> str:
    return f"/v1/groups/{segment(address)}"
