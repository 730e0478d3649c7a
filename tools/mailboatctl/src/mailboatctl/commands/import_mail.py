"""``mailboatctl import``: mail of other systems into an account, as often as it takes and no message twice."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from mailboatctl.context import connect
from mailboatctl.errors import CommandError, WrongUse
from mailboatctl.output import AsJson, err, print_json, say
from mailboatctl.sizes import show_size
from mailboatctl.transfer import imap, mbox
from mailboatctl.transfer.api import AccountApi
from mailboatctl.transfer.importer import Importer, Options, Target
from mailboatctl.transfer.journal import Journal, default_path
from mailboatctl.transfer.maildir import Maildir
from mailboatctl.transfer.report import Report
from mailboatctl.transfer.source import Source

app = typer.Typer(help="Mail from other systems. Run it again as often as you like.", no_args_is_help=True)

SHOWN = 20
PASSWORD = "MB_IMPORT_PASSWORD"  # noqa: S105 - the variable's name

Address = Annotated[str, typer.Argument(help="The account that gets the mail, such as alice@example.org")]
FolderGlobs = Annotated[list[str] | None, typer.Option("--folder", help="Only these folders: Work, Lists/*.")]
Excludes = Annotated[list[str] | None, typer.Option("--exclude", help="Not these folders.")]
Since = Annotated[str | None, typer.Option(help="Only what came on this day or later: 2024-01-31.")]
Dates = Annotated[str, typer.Option("--date", help="When a message came: store (as its store says) or header.")]
KeepNames = Annotated[
    bool, typer.Option("--keep-names", help="Sent Items stays so, also where there is a mailbox for sent mail.")
]
SkipDeleted = Annotated[bool, typer.Option("--skip-deleted", help="Leave out what is marked as deleted.")]
Concurrency = Annotated[int, typer.Option(min=1, max=16, help="Folders at a time.")]
State = Annotated[
    Path | None, typer.Option(help="Where is written down what is done; by default below XDG_STATE_HOME.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Read everything, send nothing.")]


@app.command("maildir")
def from_maildir(
    *,
    address: Address,
    path: Annotated[Path, typer.Argument(help="The directory with cur and new, or with the folders.")],
    layout: Annotated[str, typer.Option(help="auto, maildir++ (.Work.2026) or fs (Work/2026)")] = "auto",
    folder: FolderGlobs = None,
    exclude: Excludes = None,
    since: Since = None,
    date: Dates = "store",
    keep_names: KeepNames = False,
    skip_deleted: SkipDeleted = False,
    concurrency: Concurrency = 4,
    state: State = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Import a Maildir with its folders, flags, keywords, dates and subscriptions."""
    if layout not in ("auto", "maildir++", "fs"):
        raise WrongUse(f"--layout is auto, maildir++ or fs, not {layout!r}.")
    options = _options(
        address,
        folder=folder,
        exclude=exclude,
        since=since,
        date=date,
        keep_names=keep_names,
        skip_deleted=skip_deleted,
        concurrency=concurrency,
        dry_run=dry_run,
    )
    run(Maildir(path, layout), options, state, as_json)


@app.command("mbox")
def from_mbox(
    *,
    address: Address,
    path: Annotated[Path, typer.Argument(help="An mbox file, or a directory of them.")],
    into: Annotated[str, typer.Option(help="The mailbox a single file goes to.")] = "INBOX",
    dialect: Annotated[
        str, typer.Option(help="How lines that begin with From are kept: " + ", ".join(mbox.DIALECTS))
    ] = "auto",
    folder: FolderGlobs = None,
    exclude: Excludes = None,
    since: Since = None,
    date: Dates = "store",
    keep_names: KeepNames = False,
    skip_deleted: SkipDeleted = False,
    concurrency: Concurrency = 4,
    state: State = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Import mbox files, Thunderbird's too.

    Flags come from Status, X-Status, X-Keywords and X-Mozilla-Status, dates from the From_ lines.
    """
    if dialect not in mbox.DIALECTS:
        raise WrongUse(f"--dialect is one of {', '.join(mbox.DIALECTS)}, not {dialect!r}.")
    options = _options(
        address,
        folder=folder,
        exclude=exclude,
        since=since,
        date=date,
        keep_names=keep_names,
        skip_deleted=skip_deleted,
        concurrency=concurrency,
        dry_run=dry_run,
    )
    run(mbox.Mbox(path, dialect, tuple(level for level in into.split("/") if level)), options, state, as_json)


@app.command("imap")
def from_imap(
    *,
    address: Address,
    host: Annotated[str, typer.Argument(help="The other server, such as mail.example.net or mail.example.net:1993")],
    user: Annotated[str, typer.Option(help="The login there; the address if not given.")] = "",
    admin: Annotated[str, typer.Option(help="Who logs in for the user: a master user of the other server.")] = "",
    password_file: Annotated[
        Path | None, typer.Option(help=f"A file with the password; else {PASSWORD}, else asked.")
    ] = None,
    tls: Annotated[str, typer.Option(help="implicit, starttls or none")] = "implicit",
    ca_file: Annotated[Path | None, typer.Option(help="Whom to trust besides the system's authorities.")] = None,
    folder: FolderGlobs = None,
    exclude: Excludes = None,
    since: Since = None,
    date: Dates = "store",
    keep_names: KeepNames = False,
    skip_deleted: SkipDeleted = False,
    concurrency: Concurrency = 4,
    state: State = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Import from another IMAP server, where nothing changes.

    Run it again after the MX has moved: only what is new comes.
    """
    options = _options(
        address,
        folder=folder,
        exclude=exclude,
        since=since,
        date=date,
        keep_names=keep_names,
        skip_deleted=skip_deleted,
        concurrency=concurrency,
        dry_run=dry_run,
    )
    name, port = _host(host, tls)
    if ca_file is not None and not ca_file.is_file():
        raise WrongUse(f"There is no {ca_file}.")
    password = _password(password_file, admin or user or address)
    server = imap.Server(name, port, tls, user or address, password, admin, str(ca_file) if ca_file else None)
    run(imap.ImapSource(server, time.sleep), options, state, as_json)


def run(source: Source, options: Options, state: Path | None, as_json: bool) -> None:
    """Imports from a source and shows what became of it. Exit status 1 if anything was left behind."""
    ended: CommandError | None = None
    with contextlib.ExitStack() as opened:
        api = AccountApi(opened.enter_context(connect()), options.address, time.sleep)
        opened.callback(source.close)
        # The account's id, and not the API's address: the same platform may be reached in several ways.
        identity = f"{api.account_id()} {source.identity}"
        path = state or default_path(dict(os.environ), identity)
        journal, report = opened.enter_context(_journal(path, identity, options.dry_run)), Report()
        importer = Importer(source, api, journal, options, report, now=lambda: time.time_ns() // 1_000_000)
        targets = importer.plan()
        with _progress(source, targets) as report.tell:
            try:
                importer.run(targets)
            except CommandError as error:
                ended = error
    show(report, targets, source.passed_over, as_json, dry_run=options.dry_run)
    if ended is not None:
        raise ended
    if not report.complete:
        raise typer.Exit(1)


def show(report: Report, targets: list[Target], passed_over: list[str], as_json: bool, *, dry_run: bool) -> None:
    """What became of it, for people or for programs."""
    if as_json:
        folders = [{"folder": target.folder.shown, "mailbox": target.mailbox} for target in targets]
        print_json({"dry_run": dry_run, **report.as_json(), "folders": folders, "passed_over": passed_over})
        return
    counts = report.counts
    verb = "would be imported" if dry_run else "imported"
    say(
        f"{counts['imported']} messages {verb} ({show_size(counts['bytes'])}) from {len(targets)} folders, "
        f"{counts['already']} were there already, {counts['skipped']} left out, {counts['failed']} failed."
    )
    for item in report.failures[:SHOWN]:
        say(f"  failed: {item['folder']} {item['message']}: {item['why']}")
    for item in report.folders:
        say(f"  folder not finished: {item['folder']}: {item['why']}")
    for item in report.notes[:SHOWN]:
        say(f"  note: {item['folder']} {item['message']}: {item['note']}")
    hidden = max(0, counts["failed"] - SHOWN) + max(0, counts["noted"] - SHOWN)
    if hidden:
        say(f"  and {hidden} more; --json lists them.")
    for text in passed_over[:SHOWN]:
        say(f"  passed over: {text}")


@contextmanager
def _journal(path: Path, identity: str, dry_run: bool) -> Iterator[Journal]:
    """The state of earlier runs. Without any a dry run has one that is gone afterwards."""
    if not dry_run or path.exists():
        with Journal(path, identity) as journal:
            yield journal
        return
    with tempfile.TemporaryDirectory() as directory, Journal(Path(directory, "state"), identity) as journal:
        yield journal


@contextmanager
def _progress(source: Source, targets: list[Target]) -> Iterator[Callable[[str, int], None]]:
    """A bar for each folder on a terminal; one line a folder would be noise anywhere else."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    if not err.is_terminal:
        yield lambda folder, count: None
        return
    with Progress(*columns, console=err, transient=True) as progress:
        tasks: dict[str, TaskID] = {}
        for target in targets:
            tasks[target.folder.shown] = progress.add_task(target.folder.shown, total=source.count(target.folder))
        yield lambda folder, count: progress.advance(tasks[folder], count)


def _options(
    address: str,
    *,
    folder: list[str] | None,
    exclude: list[str] | None,
    since: str | None,
    date: str,
    keep_names: bool,
    skip_deleted: bool,
    concurrency: int,
    dry_run: bool,
) -> Options:
    if date not in ("store", "header"):
        raise WrongUse(f"--date is store or header, not {date!r}.")
    return Options(
        address,
        tuple(folder or ()),
        tuple(exclude or ()),
        _day(since),
        header_dates=date == "header",
        special_uses=not keep_names,
        deleted=not skip_deleted,
        concurrency=concurrency,
        dry_run=dry_run,
    )


def _day(text: str | None) -> int | None:
    """The beginning of a day in UTC, ms since the epoch."""
    if text is None:
        return None
    try:
        return round(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError as error:
        raise WrongUse(f"--since is a day such as 2024-01-31, not {text!r}.") from error


def _host(text: str, tls: str) -> tuple[str, int]:
    if tls not in ("implicit", "starttls", "none"):
        raise WrongUse(f"--tls is implicit, starttls or none, not {tls!r}.")
    name, colon, port = text.rpartition(":") if text.count(":") == 1 or text.startswith("[") else (text, "", "")
    if not colon:
        return text.strip("[]"), 993 if tls == "implicit" else 143
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise WrongUse(f"{text!r} is no host and port.")
    return name.strip("[]"), int(port)


def _password(file: Path | None, whose: str) -> str:
    """From a file, the environment or a person; never from an argument, which every user of the machine can see."""
    if file is not None:
        try:
            password = file.read_text("utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise WrongUse(f"{file} can't be read, or isn't UTF-8.") from error
    elif os.environ.get(PASSWORD):
        password = os.environ[PASSWORD]
    elif sys.stdin.isatty():
        password = str(typer.prompt(f"Password of {whose} on the other server", hide_input=True, err=True))
    else:
        raise WrongUse(f"The password of {whose} on the other server: --password-file, or {PASSWORD}.")
    if not password:
        raise WrongUse("The password is empty.")
    return password
