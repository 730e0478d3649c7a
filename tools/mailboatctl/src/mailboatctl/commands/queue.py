"""``mailboatctl queue``: mail on its way to other servers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from mailboatctl.client import segment
from mailboatctl.commands.transport import (
    PasswordFile,
    PasswordStdin,
    Tls,
    Username,
    show_transport,
    transport_password,
)
from mailboatctl.context import connect
from mailboatctl.errors import WrongUse
from mailboatctl.output import AsJson, Column, print_fields, print_json, print_table, say, show_time

app = typer.Typer(help="Mail on its way to other servers.", no_args_is_help=True)

Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="As `queue list` shows them.")]
Domain = Annotated[str, typer.Option(help="Only for this destination domain.")]
Sender = Annotated[str, typer.Option(help="Only from this reverse-path; <> for the null one.")]
All = Annotated[bool, typer.Option("--all", help="Everything in the queue.")]


def _recipients(item: Mapping[str, Any]) -> str:
    first, *others = [recipient["address"] for recipient in item["recipients"]]
    return f"{first} +{len(others)}" if others else str(first)


COLUMNS: tuple[Column, ...] = (
    ("id", lambda item: item["id"]),
    ("state", lambda item: item["state"]),
    ("since", lambda item: show_time(item["created_at"])),
    ("next attempt", lambda item: _time(item["next_attempt"])),
    ("tries", lambda item: max(recipient["attempts"] for recipient in item["recipients"])),
    ("from", lambda item: item["sender"] or "<>"),
    ("to", _recipients),
    ("why", lambda item: item["why"]),
)
COUNTS: tuple[Column, ...] = (
    ("domain", lambda item: item["domain"]),
    ("ready", lambda item: item["ready"]),
    ("claimed", lambda item: item["claimed"]),
    ("held", lambda item: item["held"]),
    ("oldest", lambda item: show_time(item["oldest"])),
    ("next attempt", lambda item: _time(item["next_attempt"])),
)
RECIPIENTS: tuple[Column, ...] = (
    ("recipient", lambda item: item["address"]),
    ("state", lambda item: item["state"]),
    ("tries", lambda item: item["attempts"]),
    ("last", lambda item: _time(item["at"])),
    ("status", lambda item: item["status"]),
    ("host", lambda item: item["host"]),
    ("said", lambda item: item["reply"] or item["reason"]),
)


@app.command("list")
def show_list(
    domain: Domain = "",
    sender: Sender = "",
    state: Annotated[str, typer.Option(help="ready, claimed, held or done; without it all but done.")] = "",
    domains: Annotated[bool, typer.Option("--domains", help="Count by destination domain instead.")] = False,
    as_json: AsJson = False,
) -> None:
    """List what waits: since when, until when, and why. Each line is a message for one destination domain."""
    with connect() as api:
        if domains:
            if domain or sender or state:
                raise WrongUse("--domains counts everything; it takes no other condition.")
            found = api.call("GET", "/v1/queue/domains")["items"]
        else:
            wanted = {"domain": domain, "sender": sender, "state": state}
            found = list(api.items("/v1/queue", {name: value for name, value in wanted.items() if value}))
    print_json(found) if as_json else print_table(COUNTS if domains else COLUMNS, found)


@app.command()
def show(queue_id: Annotated[str, typer.Argument(metavar="ID")], as_json: AsJson = False) -> None:
    """Show one message: its envelope, why it waits, and what the remote server said of each recipient."""
    with connect() as api:
        found = api.call("GET", f"/v1/queue/{segment(queue_id)}")
    if as_json:
        print_json(found)
        return
    route, like = found["route"], found.get("route_of")
    print_fields(
        {
            "id": found["id"],
            "trace": found["trace_id"],
            "state": found["state"],
            "why": found["why"],
            "from": found["sender"] or "<>",
            "domain": found["domain"],
            "size": found["size"],
            "queued": show_time(found["created_at"]),
            "next attempt": _time(found["next_attempt"]),
            "given up": show_time(found["expires_at"]),
            "worker": found["worker"],
            "route": show_transport(route) if route else f"as {like}" if like else "",
        }
    )
    print_table(RECIPIENTS, found["recipients"])


@app.command()
def retry(
    ids: Ids = None, domain: Domain = "", sender: Sender = "", everything: All = False, as_json: AsJson = False
) -> None:
    """Try now what would be tried later."""
    _act("retry", "tried now", _selection(ids, domain, sender, everything), as_json)


@app.command()
def hold(
    ids: Ids = None, domain: Domain = "", sender: Sender = "", everything: All = False, as_json: AsJson = False
) -> None:
    """Make no attempts until `release`; one that is running ends first."""
    _act("hold", "held", _selection(ids, domain, sender, everything), as_json)


@app.command()
def release(
    ids: Ids = None, domain: Domain = "", sender: Sender = "", everything: All = False, as_json: AsJson = False
) -> None:
    """End a hold and try at once."""
    _act("release", "released", _selection(ids, domain, sender, everything), as_json)


@app.command()
def rm(
    *,
    ids: Ids = None,
    domain: Domain = "",
    sender: Sender = "",
    everything: All = False,
    bounce: Annotated[bool, typer.Option("--bounce", help="Tell the senders, with a bounce.")] = False,
    reason: Annotated[str, typer.Option(help="With --bounce: what they are told, in one line.")] = "",
    status: Annotated[str, typer.Option(help="With --bounce: a code such as 5.7.1; 5.0.0 without it.")] = "",
    as_json: AsJson = False,
) -> None:
    """Give messages up; their senders aren't told, unless with --bounce."""
    body = _selection(ids, domain, sender, everything)
    if not bounce:
        if reason or status:
            raise WrongUse("--reason and --status are for --bounce.")
        _act("remove", "removed", body, as_json)
        return
    body |= {name: value for name, value in (("reason", reason), ("status", status)) if value}
    _act("bounce", "returned", body, as_json)


@app.command()
def reroute(
    *,
    ids: Ids = None,
    domain: Domain = "",
    sender: Sender = "",
    everything: All = False,
    host: Annotated[str, typer.Option(help="A smarthost: a name, or an address in brackets.")] = "",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 25,
    tls: Tls = "may",
    username: Username = "",
    password_stdin: PasswordStdin = False,
    password_file: PasswordFile = None,
    like: Annotated[str, typer.Option(help="As the transport table says for this domain, or for *.")] = "",
    by_table: Annotated[bool, typer.Option("--by-table", help="As the transport table says again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send messages another way from their next attempt on.

    To a smarthost, as mail for another domain goes (with its credentials), or by the table again. A password comes
    from --password-stdin, --password-file or the variable MB_API_TRANSPORT_PASSWORD, else it is asked for.
    """
    if [bool(host), bool(like), by_table].count(True) != 1:
        raise WrongUse("One of --host, --like and --by-table says where they go.")
    if username and not host:
        raise WrongUse("--username is for --host.")
    body = _selection(ids, domain, sender, everything)
    if host:
        body["transport"] = {"host": host, "port": port, "tls": tls}
    if username:
        password = transport_password(password_stdin, password_file)
        body["transport"] |= {"username": username, "password": password}
    if like:
        body["transport_of"] = like
    _act("reroute", "rerouted", body, as_json)


def _selection(ids: list[str] | None, domain: str, sender: str, everything: bool) -> dict[str, Any]:
    given = {"ids": ids or [], "domain": domain, "sender": sender}
    body: dict[str, Any] = {name: value for name, value in given.items() if value}
    if bool(body) == everything:
        raise WrongUse("Say which messages: ids, --domain, --sender, or --all alone.")
    return body | ({"all": True} if everything else {})


def _act(action: str, done: str, body: Mapping[str, Any], as_json: bool) -> None:
    with connect() as api:
        answer = api.call("POST", f"/v1/queue:{action}", body)
    number = answer["changed"]
    print_json(answer) if as_json else say(f"{number} {'message' if number == 1 else 'messages'} {done}.")


def _time(milliseconds: int | None) -> str:
    return "" if milliseconds is None else show_time(milliseconds)
