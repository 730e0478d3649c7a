"""``mailboatctl account forward`` and ``mailboatctl domain catch-all``: where mail goes instead, or as well."""

from __future__ import annotations

from typing import Annotated

import typer

from mailboatctl.client import segment
from mailboatctl.context import connect
from mailboatctl.errors import WrongUse
from mailboatctl.output import AsJson, print_json, say

NOBODY = "none"


def forward(
    address: Annotated[str, typer.Argument(help="The account, such as alice@example.org")],
    to: Annotated[list[str] | None, typer.Argument(help=f"Where to, or {NOBODY}; without: show it")] = None,
    keep: Annotated[bool, typer.Option("--keep/--no-keep", help="Whether a copy stays in the account.")] = True,
    as_json: AsJson = False,
) -> None:
    """Send an account's mail on, or show where it goes."""
    path = f"/v1/accounts/{segment(address)}/forwarding"
    with connect() as api:
        if to is None:
            found = api.call("GET", path)
        else:
            if NOBODY in to and len(to) > 1:
                raise WrongUse(f"Either addresses or {NOBODY}.")
            found = api.call("PUT", path, {"to": [] if to == [NOBODY] else to, "keep": keep})
    if as_json:
        print_json(found)
    elif not found["to"]:
        say(f"{address} isn't forwarded.")
    else:
        say(f"{address} goes to {', '.join(found['to'])}; {'a copy' if found['keep'] else 'no copy'} stays.")


def catch_all(
    name: Annotated[str, typer.Argument(help="Such as example.org")],
    address: Annotated[str | None, typer.Argument(help=f"Who gets it, or {NOBODY}; without: show it")] = None,
    as_json: AsJson = False,
) -> None:
    """Say who gets mail for a domain's addresses that nobody has, or show who does."""
    path = f"/v1/domains/{segment(name)}/catch-all"
    with connect() as api:
        if address is None:
            found = api.call("GET", path)
        else:
            found = api.call("PUT", path, {"address": None if address == NOBODY else address})
    if as_json:
        print_json(found)
    else:
        target = found["address"]
        say(f"{target} gets what nobody in {name} has." if target else f"What nobody in {name} has is refused.")
