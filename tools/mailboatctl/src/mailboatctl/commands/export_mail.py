"""``mailboatctl export``: an account's mail as files that every other system can read."""

from __future__ import annotations

import time
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import typer

from mailboatctl.commands.import_mail import SHOWN, Concurrency, Excludes, FolderGlobs
from mailboatctl.context import connect
from mailboatctl.output import AsJson, err, print_json, say
from mailboatctl.sizes import show_size
from mailboatctl.transfer.api import AccountApi
from mailboatctl.transfer.maildir_out import Exporter
from mailboatctl.transfer.report import Report

app = typer.Typer(help="Mail for other systems.", no_args_is_help=True)


@app.command("maildir")
def to_maildir(
    *,
    address: Annotated[str, typer.Argument(help="The account, such as alice@example.org")],
    path: Annotated[Path, typer.Argument(help="The directory; it is made if there is none.")],
    folder: FolderGlobs = None,
    exclude: Excludes = None,
    crlf: Annotated[
        bool, typer.Option("--crlf", help="Line ends as the platform keeps them; Maildirs have LF.")
    ] = False,
    delete: Annotated[
        bool, typer.Option("--delete", help="Remove files of messages that are gone from the account.")
    ] = False,
    concurrency: Concurrency = 4,
    as_json: AsJson = False,
) -> None:
    """Write an account's mail as Maildir++, with flags, keywords, dates and subscriptions; again: what has changed.

    The token needs read-mail; each message that is read is in the audit log.
    """
    report = Report()
    with connect() as client:
        api = AccountApi(client, address, time.sleep)
        mailboxes = [item for item in api.mailboxes() if _wanted(item["name"], folder or [], exclude or [])]
        with err.status(f"exporting {address} ..."):
            exporter = Exporter(api, path, report, crlf=crlf, remove=delete, concurrency=concurrency)
            exporter.run(mailboxes)
    counts = report.counts
    if as_json:
        print_json(report.as_json() | {"mailboxes": [item["name"] for item in mailboxes]})
    else:
        say(
            f"{counts['exported']} messages written ({show_size(counts['bytes'])}) of {len(mailboxes)} mailboxes, "
            f"{counts['already']} were there already, {counts['changed']} have other flags, "
            f"{counts['removed']} removed, {counts['failed']} failed."
        )
        for item in report.failures[:SHOWN]:
            say(f"  failed: {item['folder']} {item['message']}: {item['why']}")
        for item in report.folders:
            say(f"  mailbox not finished: {item['folder']}: {item['why']}")
        for item in report.notes[:SHOWN]:
            say(f"  note: {item['folder']} {item['message']}: {item['note']}")
    if not report.complete:
        raise typer.Exit(1)


def _wanted(name: str, folders: list[str], exclude: list[str]) -> bool:
    named = not folders or any(fnmatchcase(name, pattern) for pattern in folders)
    return named and not any(fnmatchcase(name, pattern) for pattern in exclude)
