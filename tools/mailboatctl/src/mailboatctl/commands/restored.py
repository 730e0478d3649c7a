"""``mailboatctl restored``: put the platform right after a backup of MongoDB was put back."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mailboatctl.client import Client, segment
from mailboatctl.context import connect
from mailboatctl.errors import ApiRefused, Unreachable, WrongUse
from mailboatctl.output import AsJson, Column, err, print_json, print_table, say, show_time

EVERY_SECONDS = 0.5
PATIENCE_SECONDS = 20.0
CONFLICT = 409

WARNING = (
    "Every client will fetch its mail anew, the outbound queue is held, and no mail is taken until this is done. "
    "Do it only when a backup of the database was put back."
)
PHASES = {"queue": "holding the queue", "notices": "holding notices", "accounts": "raising accounts", "": "done"}
TOKENS: tuple[Column, ...] = (
    ("token", lambda item: item["id"]),
    ("name", lambda item: item["name"]),
    ("scopes", lambda item: item["scopes"]),
    ("account", lambda item: item["account"]),
    ("made", lambda item: show_time(item["created_at"])),
)

BackupTime = Annotated[
    str, typer.Option("--backup-time", help="When the backup was made: RFC 3339, a day, or milliseconds.")
]


def restored(
    *,
    backup_time: BackupTime,
    label: Annotated[str, typer.Option(help="A name for this restore; without it the backup's time.")] = "",
    again: Annotated[bool, typer.Option("--again", help="Also if it was done already.")] = False,
    wait: Annotated[bool, typer.Option(help="Follow it to its end; else only announce it.")] = True,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Put the platform right after a backup of MongoDB was put back.

    Raises every mailbox's UIDVALIDITY, skips numbers that others may know, and holds the outbound queue. The worker
    role does it; this command follows it, and goes on when it is run once more after it was broken off.
    """
    if not yes:
        if not sys.stdin.isatty():
            raise WrongUse(f"{WARNING} Say --yes if that is so.")
        typer.confirm(f"{WARNING} Go on?", abort=True, err=True)
    label = label or backup_time
    with connect() as api:
        begun = _begin(api, {"label": label, "backup_time": backup_time, "again": again})
        if not wait:
            print_json(begun) if as_json else say(f"{label}: {begun['state']}. Run this again to follow it.")
            return
        restore = _follow(api, label)
        tokens = list(api.items("/v1/tokens"))
    if as_json:
        print_json({"restore": restore, "tokens": tokens})
        return
    _report(restore, tokens)


def _begin(api: Client, body: dict[str, Any]) -> dict[str, Any]:
    """Announce it; the one of this label that was announced before, unless it is to be done again."""
    try:
        begun: dict[str, Any] = api.call("POST", "/v1/restored", body)
    except ApiRefused as refused:
        if refused.code != CONFLICT:
            raise
        known = [each for each in api.items("/v1/restored") if each["label"] == body["label"]]
        if not known:
            raise
        err.print(f"{body['label']} was done already. With --again it is done once more.", markup=False)
        return known[0]
    return begun


def _follow(api: Client, label: str) -> dict[str, Any]:
    """Shows how far it is until it is done; an API that is away for a while is waited for."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    heard = moved = time.monotonic()
    seen: dict[str, Any] = {}
    with Progress(*columns, console=err, disable=not err.is_terminal) as progress:
        task = progress.add_task("waiting", total=None)
        while True:
            try:
                found: dict[str, Any] = api.call("GET", f"/v1/restored/{segment(label)}")
            except Unreachable:
                if time.monotonic() - heard > PATIENCE_SECONDS:
                    raise
                time.sleep(EVERY_SECONDS)
                continue
            heard = time.monotonic()
            if found != seen:
                seen, moved = found, heard
            still = heard - moved > PATIENCE_SECONDS
            text = "no worker is at it: start storage_worker" if still else PHASES[found["phase"]]
            progress.update(task, description=text, total=found["total"], completed=found["accounts"])
            if found["state"] == "done":
                return found
            if still and not err.is_terminal:
                raise Unreachable("No worker is at it: start storage_worker, then run this again.")
            time.sleep(EVERY_SECONDS)


def _report(restore: dict[str, Any], tokens: list[dict[str, Any]]) -> None:
    say(f"{restore['accounts']} accounts and {restore['mailboxes']} mailboxes have new numbers.")
    say(f"{restore['queue']} messages are held ({restore['reason']}): see `queue list`, then `queue release` or `rm`.")
    if restore["notices"]:
        say(f"{restore['notices']} notices to senders wait; those to other servers will be held as well.")
    say(f"What was done since {show_time(restore['backup_at'])} is undone. Look after:")
    say("- accounts, aliases and groups made since: make them again before mail is taken, or it is refused;")
    say("- passwords changed and accounts disabled since: the old passwords are good again;")
    say("- DKIM keys rotated since: `domain check` for each domain;")
    say("- tokens: those revoked since are good again, those made since are gone. There are:")
    print_table(TOKENS, tokens)
