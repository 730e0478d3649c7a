"""``mailboatctl account``: people's accounts, one by one or thousands from a file."""

from __future__ import annotations

import io
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mailboatctl import accounts_csv
from mailboatctl.client import Client, segment
from mailboatctl.context import connect, read_password
from mailboatctl.days import parse_days
from mailboatctl.errors import CommandError, Unreachable, WrongUse
from mailboatctl.output import AsJson, Column, err, print_fields, print_json, print_table, say, show_time
from mailboatctl.sizes import LARGEST, parse_size, show_size

app = typer.Typer(help="Accounts.", no_args_is_help=True)
Address = Annotated[str, typer.Argument(help="Such as alice@example.org")]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from the first line of stdin.")
]
BATCH = 100  # plain passwords cost the server about 20 ms each: a batch stays well under every timeout

QuotaMessages = Annotated[
    str | None, typer.Option("--messages", help="How many messages at most: 100000, none; unchanged if not given.")
]

COLUMNS: tuple[Column, ...] = (
    ("address", lambda item: item["address"]),
    ("quota", lambda item: show_size(item["quota_bytes"]) if item["quota_bytes"] else "none"),
    ("quota of messages", lambda item: item["quota_messages"] or "none"),
    ("used", lambda item: show_size(item["used_bytes"])),
    ("messages", lambda item: item["messages"]),
    ("disabled", lambda item: item["disabled"]),
)


@app.command()
def add(
    address: Address,
    password_stdin: PasswordStdin = False,
    quota: Annotated[str | None, typer.Option(help="5G, 500M, none; the platform's default if not given.")] = None,
    messages: QuotaMessages = None,
    as_json: AsJson = False,
) -> None:
    """Make an account."""
    request: dict[str, Any] = {"address": address}
    if quota is not None:
        request["quota_bytes"] = _size(quota)
    if messages is not None:
        request["quota_messages"] = _count(messages)
    request["password"] = read_password(password_stdin)
    with connect() as api:
        account = api.call("POST", "/v1/accounts", request)
    print_json(account) if as_json else say(f"{account['address']} added.")


@app.command("list")
def show_all(
    domain: Annotated[str | None, typer.Option(help="Only this domain's.")] = None, as_json: AsJson = False
) -> None:
    """List accounts."""
    with connect() as api:
        accounts = list(api.items("/v1/accounts", {"domain": domain} if domain else {}))
    if as_json:
        print_json(accounts)
    else:
        print_table(COLUMNS, accounts)


@app.command()
def show(address: Address, as_json: AsJson = False) -> None:
    """Show one account."""
    with connect() as api:
        account = api.call("GET", _path(address))
    if as_json:
        print_json(account)
    else:
        print_fields(account | {"created_at": show_time(account["created_at"])})


@app.command()
def passwd(address: Address, password_stdin: PasswordStdin = False, as_json: AsJson = False) -> None:
    """Set an account's password."""
    _change(address, {"password": read_password(password_stdin)}, "has a new password", as_json)


@app.command()
def quota(
    address: Address,
    size: Annotated[str, typer.Argument(help="5G, 500M, none")],
    messages: QuotaMessages = None,
    as_json: AsJson = False,
) -> None:
    """Set how much mail an account may keep."""
    change = {"quota_bytes": _size(size)}
    done = f"has a quota of {size}"
    if messages is not None:
        change["quota_messages"] = _count(messages)
        done += f" and {messages} messages"
    _change(address, change, done, as_json)


@app.command()
def mask(
    address: Address,
    capabilities: Annotated[
        list[str], typer.Argument(help="CONDSTORE QRESYNC ..., or none. They replace the earlier.")
    ],
    as_json: AsJson = False,
) -> None:
    """Hide IMAP capabilities from an account whose client can't cope with them, from its next login on."""
    names = [] if [name.lower() for name in capabilities] == ["none"] else capabilities
    done = f"isn't told of {' '.join(names)} any more" if names else "is told of all capabilities"
    _change(address, {"imap_masked_capabilities": names}, done, as_json)


@app.command("pop3-retention")
def pop3_retention(
    address: Address,
    days: Annotated[str, typer.Argument(help="0 to 3650 (0: at QUIT), never, or domain: as the domain says")],
    as_json: AsJson = False,
) -> None:
    """Set after how many days a message that POP3 retrieved is removed.

    It counts from the first retrieval, also if that was before the setting was made.
    """
    try:
        given = parse_days(days, {"never": "never", "domain": None})
    except ValueError as error:
        raise WrongUse(f"{error}.") from error
    _change(address, {"pop3_retention_days": given}, f"has a POP3 retention of {days}", as_json)


@app.command()
def disable(address: Address, as_json: AsJson = False) -> None:
    """Nobody logs in to the account any more, and mail for it is refused (550)."""
    _change(address, {"disabled": True}, "disabled", as_json)


@app.command()
def enable(address: Address, as_json: AsJson = False) -> None:
    """Undo disable."""
    _change(address, {"disabled": False}, "enabled", as_json)


@app.command()
def rm(
    address: Address,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask; a script is never asked.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove an account with all its mail."""
    if not yes and sys.stdin.isatty() and not typer.confirm(f"Remove {address} with all its mail?"):
        raise CommandError("Nothing was removed.")
    with connect() as api:
        api.call("DELETE", _path(address))
    print_json({"address": address, "removed": True}) if as_json else say(f"{address} removed.")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="CSV: address,password,quota. - is stdin.", allow_dash=True)],
    as_json: AsJson = False,
) -> None:
    """Make or update accounts from a file; run it again as often as you like.

    A password may be a hash: $argon2id$..., {BCRYPT}$2b$..., {SHA512-CRYPT}$6$...; it is replaced by the platform's
    own form when its owner logs in next.
    """
    rows = _read_file(file)
    with connect() as api:
        results = _send(api, rows)
    counts = Counter(str(result["result"]) for result in results)
    failed = [result for result in results if result["result"] == "error"]
    if as_json:
        print_json({"counts": dict(counts), "errors": failed})
    else:
        say(f"{len(results)} accounts: " + (", ".join(f"{n} {what}" for what, n in sorted(counts.items())) or "none"))
        for result in failed:
            say(f"  line {result['line']}: {result['address']}: {result['error']}")
    if failed:
        raise typer.Exit(1)


def _read_file(file: Path) -> list[accounts_csv.Row]:
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text("utf-8-sig")
    except OSError as error:
        raise WrongUse(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise WrongUse(f"{file} is not UTF-8: {error.reason} at byte {error.start}") from error
    return accounts_csv.read(io.StringIO(text, newline=""))


def _send(api: Client, rows: list[accounts_csv.Row]) -> list[dict[str, Any]]:
    """Each row's result with its line, in the file's order."""
    results: list[dict[str, Any]] = []
    columns = (TextColumn("importing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task("", total=len(rows))
        for first in range(0, len(rows), BATCH):
            batch = rows[first : first + BATCH]
            try:
                answer = api.call("POST", "/v1/accounts:batch", {"accounts": [row.request() for row in batch]})
            except Unreachable as error:
                raise Unreachable(f"{error} The first {len(results)} rows are done; run it again.") from error
            for row, result in zip(batch, answer["results"], strict=True):
                results.append({"line": row.line, "address": row.address} | result)
            progress.advance(task, len(batch))
    return results


def _change(address: str, change: dict[str, Any], done: str, as_json: bool) -> None:
    with connect() as api:
        account = api.call("PATCH", _path(address), change)
    print_json(account) if as_json else say(f"{address} {done}.")


def _path(address: str) -> str:
    return f"/v1/accounts/{segment(address)}"


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise WrongUse(f"{error}.") from error


def _count(text: str) -> int:
    """A number of messages, 0 for "none" (no limit)."""
    if text.strip().lower() == "none":
        return 0
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= LARGEST):
        raise WrongUse(f"{text!r} is no number of messages; write 100000 or none.")
    return int(text)
