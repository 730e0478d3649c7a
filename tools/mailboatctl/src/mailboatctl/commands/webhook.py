"""``mailboatctl webhook``: events sent to others' URLs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from mailboatctl.client import segment
from mailboatctl.context import connect
from mailboatctl.errors import ApiRefused
from mailboatctl.output import AsJson, err, out, print_fields, print_json, print_table, say, show_time

app = typer.Typer(help="Webhooks: events for other systems, over HTTP.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID")]
TIMES = ("created_at", "failing_since", "next_attempt_at", "last_success_at", "old_secrets_until")


@app.command()
def create(
    url: Annotated[str, typer.Argument(help="An https URL; http only into a network of MB_WEBHOOK_NETWORKS.")],
    *,
    type_: Annotated[
        list[str] | None, typer.Option("--type", help="message.received and so on; all if left out.")
    ] = None,
    domain: Annotated[list[str] | None, typer.Option(help="Events of this domain's accounts; may be repeated.")] = None,
    account: Annotated[list[str] | None, typer.Option(help="Events of this account; may be repeated.")] = None,
    description: Annotated[str, typer.Option(help="What it is for, for people.")] = "",
    as_json: AsJson = False,
) -> None:
    """Send events from now on to a URL; the secret that signs them is shown this once."""
    body = {"url": url, "types": type_ or [], "domains": domain or [], "accounts": account or []}
    with connect() as api:
        made = api.call("POST", "/v1/webhooks", body | {"description": description})
    _show_secret(made, f"Webhook {made['id']}.", as_json=as_json)


@app.command("list")
def show_all(as_json: AsJson = False) -> None:
    """List webhooks: their state, and how far they are behind."""
    with connect() as api:
        found = list(api.items("/v1/webhooks"))
    if as_json:
        print_json(found)
        return
    print_table(
        [
            ("id", lambda item: item["id"]),
            ("url", lambda item: item["url"]),
            ("state", lambda item: item["state"]),
            ("pending", lambda item: item["pending"]),
            ("lag", lambda item: f"{item['lag_seconds']:.0f} s"),
            ("last error", _last_error),
        ],
        found,
    )


@app.command()
def show(webhook_id: Id, as_json: AsJson = False) -> None:
    """Show one webhook."""
    _call("GET", webhook_id, as_json=as_json)


@app.command()
def pause(webhook_id: Id, as_json: AsJson = False) -> None:
    """Send nothing until it is resumed; events wait for as long as the stream keeps them."""
    _call("POST", webhook_id, "/pause", as_json=as_json)


@app.command()
def resume(webhook_id: Id, as_json: AsJson = False) -> None:
    """Go on at once where it stopped, also if it was disabled or rests after a failure."""
    _call("POST", webhook_id, "/resume", as_json=as_json)


@app.command()
def replay(
    webhook_id: Id,
    position: Annotated[int | None, typer.Option(help="Send again what is behind this position.")] = None,
    since: Annotated[str | None, typer.Option(help="Send again what came since, such as 2026-11-26T08:30:00Z.")] = None,
    as_json: AsJson = False,
) -> None:
    """Send events again, as far as they are kept; each has the id it had."""
    given = {"position": position, "since": since}
    body = {name: value for name, value in given.items() if value is not None}
    _call("POST", webhook_id, "/replay", body, as_json=as_json)


@app.command("rotate-secret")
def rotate_secret(
    webhook_id: Id,
    overlap_hours: Annotated[
        int, typer.Option(min=0, max=720, help="For so long the old secret signs as well; 0 if others know it.")
    ] = 24,
    as_json: AsJson = False,
) -> None:
    """Make a new secret; it is shown this once. The receiver changes over during the overlap."""
    with connect() as api:
        made = api.call("POST", f"/v1/webhooks/{segment(webhook_id)}/rotate-secret", {"overlap_hours": overlap_hours})
    until = made["old_secrets_until"]
    note = f"The old one signs as well until {show_time(until)}." if until else "The old one signs no more."
    _show_secret(made, note, as_json=as_json)


@app.command()
def test(webhook_id: Id, as_json: AsJson = False) -> None:
    """Send one webhook.test now, and say what came of it; exit status 1 if it wasn't taken."""
    with connect() as api:
        result = api.call("POST", f"/v1/webhooks/{segment(webhook_id)}/test")
    if as_json:
        print_json(result)
    elif not result["error"]:
        say(f"Taken with status {result['status']} after {result['seconds']:.3f} s.")
    if result["error"]:
        raise ApiRefused(result["status"], f"Not taken: {result['error']}.")


@app.command()
def rm(webhook_id: Id, as_json: AsJson = False) -> None:
    """Remove a webhook."""
    with connect() as api:
        api.call("DELETE", f"/v1/webhooks/{segment(webhook_id)}")
    print_json({"id": webhook_id, "removed": True}) if as_json else say(f"{webhook_id} removed.")


def _show_secret(made: Mapping[str, Any], note: str, *, as_json: bool) -> None:
    if as_json:
        print_json(made)
        return
    out.print(made["secret"], markup=False)
    err.print(f"{note} Keep the secret now: it is not shown again.", markup=False)


def _call(method: str, webhook_id: str, verb: str = "", body: object = None, *, as_json: bool) -> None:
    with connect() as api:
        webhook = api.call(method, f"/v1/webhooks/{segment(webhook_id)}{verb}", body)
    if as_json:
        print_json(webhook)
        return
    shown = {name: show_time(value) if name in TIMES and value else value for name, value in webhook.items()}
    print_fields(shown | {"last_error": _last_error(webhook)})


def _last_error(webhook: Mapping[str, Any]) -> str:
    last = webhook["last_error"]
    return f"{show_time(last['at'])} {last['error']}" if last else ""
