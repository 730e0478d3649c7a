"""``mailboatctl transport``: where mail for other servers goes."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mailboatctl.client import segment
from mailboatctl.context import connect, read_password
from mailboatctl.errors import WrongUse
from mailboatctl.output import AsJson, Column, print_json, print_table, say

PASSWORD_VARIABLE = "MB_API_TRANSPORT_PASSWORD"  # noqa: S105 - the name of a variable
MX = "the domain's MX"

app = typer.Typer(help="Where mail for other servers goes: the transport table.", no_args_is_help=True)
Key = Annotated[str, typer.Argument(metavar="DOMAIN", help="A domain, or * for all without an entry of their own.")]
Tls = Annotated[str, typer.Option(help="none, may, encrypt, verify or implicit.")]
Username = Annotated[str, typer.Option(help="For AUTH; needs TLS.")]
PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin.")]
PasswordFile = Annotated[Path | None, typer.Option(help="Read the password from a file.")]

COLUMNS: tuple[Column, ...] = (
    ("domain", lambda item: item["domain"]),
    ("host", lambda item: item["host"] or MX),
    ("port", lambda item: item["port"]),
    ("tls", lambda item: item["tls"]),
    ("user", lambda item: item["username"]),
)


@app.command("set")
def put(
    domain: Key,
    *,
    host: Annotated[str, typer.Option(help="A smarthost: a name, or an address in brackets. Without: the MX.")] = "",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 25,
    tls: Tls = "may",
    username: Username = "",
    password_stdin: PasswordStdin = False,
    password_file: PasswordFile = None,
    as_json: AsJson = False,
) -> None:
    """Send mail for a domain through a smarthost, or to its MX in a certain way.

    The password comes from --password-stdin, --password-file or the variable MB_API_TRANSPORT_PASSWORD, else it is
    asked for; it is never shown again.
    """
    password = transport_password(password_stdin, password_file) if username else ""
    body = {"host": host, "port": port, "tls": tls, "username": username, "password": password}
    with connect() as api:
        entry = api.call("PUT", f"/v1/transports/{segment(domain)}", body)
    print_json(entry) if as_json else say(f"Mail for {entry['domain']} goes to {show_transport(entry)}.")


@app.command("list")
def show(as_json: AsJson = False) -> None:
    """List the transport table, without passwords."""
    with connect() as api:
        entries = list(api.items("/v1/transports"))
    print_json(entries) if as_json else print_table(COLUMNS, entries)


@app.command()
def rm(domain: Key, as_json: AsJson = False) -> None:
    """Remove an entry: mail goes as * says, else to the domain's MX."""
    with connect() as api:
        api.call("DELETE", f"/v1/transports/{segment(domain)}")
    print_json({"domain": domain, "removed": True}) if as_json else say(f"The transport of {domain} is removed.")


def show_transport(transport: Any) -> str:
    """`[user@]host:port (tls)` for a person."""
    if not transport["host"]:
        return f"{MX} ({transport['tls']})"
    user = f"{transport['username']}@" if transport["username"] else ""
    return f"{user}{transport['host']}:{transport['port']} ({transport['tls']})"


def transport_password(from_stdin: bool, file: Path | None) -> str:
    """From stdin, a file, the environment, or asked for; never an argument. Raises WrongUse."""
    if file is not None:
        try:
            return file.read_text("utf-8").rstrip("\r\n")
        except (OSError, ValueError) as error:
            raise WrongUse(f"The password file can't be read: {error}.") from error
    if not from_stdin and (given := os.environ.get(PASSWORD_VARIABLE)):
        return given
    if not from_stdin and not sys.stdin.isatty():
        raise WrongUse(f"Pass the password with --password-stdin, --password-file or {PASSWORD_VARIABLE}.")
    return read_password(from_stdin)
