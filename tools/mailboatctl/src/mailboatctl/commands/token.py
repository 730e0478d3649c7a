"""``mailboatctl token``: tokens for the REST API."""

from __future__ import annotations

from typing import Annotated

import typer

from mailboatctl.client import segment
from mailboatctl.context import connect
from mailboatctl.output import AsJson, err, out, print_json, print_table, say, show_time

app = typer.Typer(help="API tokens.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What it is for, for people.")],
    scope: Annotated[
        list[str], typer.Option(help="platform, domain:NAME, self, submit, queue or read-mail; may be repeated.")
    ],
    account: Annotated[
        str | None, typer.Option(help="Whose token it is: for self, or to submit as this account only.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a token; it is shown this once."""
    request: dict[str, object] = {"name": name, "scopes": scope}
    if account is not None:
        request["account"] = account
    with connect() as api:
        token = api.call("POST", "/v1/tokens", request)
    if as_json:
        print_json(token)
    else:
        out.print(token["token"], markup=False)
        err.print(f"Token {token['id']}. Keep it now: it is not shown again.", markup=False)


@app.command("list")
def show(as_json: AsJson = False) -> None:
    """List tokens, without their secrets."""
    with connect() as api:
        tokens = list(api.items("/v1/tokens"))
    if as_json:
        print_json(tokens)
    else:
        print_table(
            [
                ("id", lambda item: item["id"]),
                ("name", lambda item: item["name"]),
                ("scopes", lambda item: item["scopes"]),
                ("account", lambda item: item.get("account") or ""),
                ("created", lambda item: show_time(item["created_at"])),
            ],
            tokens,
        )


@app.command()
def revoke(token_id: Annotated[str, typer.Argument(metavar="ID")], as_json: AsJson = False) -> None:
    """End a token's validity."""
    with connect() as api:
        api.call("DELETE", f"/v1/tokens/{segment(token_id)}")
    print_json({"id": token_id, "revoked": True}) if as_json else say(f"{token_id} revoked.")
