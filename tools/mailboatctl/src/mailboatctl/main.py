"""``mailboatctl``: operates Mailboat through its REST API.

MB_API_URL and MB_API_TOKEN (or MB_API_TOKEN_FILE, a file with the token) say which API and with which token; without
them .local/credentials.env in the current directory does. Exit status: 0 done, 1 refused (or the audit has findings,
a domain's DNS records have errors, or a step of the smoke test failed), 2 wrong use, 3 the API is not reachable.
"""

from __future__ import annotations

import typer
from rich.text import Text

from mailboatctl.commands import (
    account,
    alias,
    domain,
    export_mail,
    group,
    import_mail,
    queue,
    suppression,
    token,
    transport,
    webhook,
)
from mailboatctl.commands.audit import audit
from mailboatctl.commands.forwarding import catch_all, forward
from mailboatctl.commands.restored import restored
from mailboatctl.commands.smoke import smoke
from mailboatctl.commands.trace import trace
from mailboatctl.errors import CommandError
from mailboatctl.output import err

app = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(domain.app, name="domain")
app.add_typer(account.app, name="account")
app.add_typer(alias.app, name="alias")
app.add_typer(group.app, name="group")
app.add_typer(import_mail.app, name="import")
app.add_typer(export_mail.app, name="export")
app.add_typer(queue.app, name="queue")
app.add_typer(transport.app, name="transport")
app.add_typer(suppression.app, name="suppression")
app.add_typer(token.app, name="token")
app.add_typer(webhook.app, name="webhook")
account.app.command("forward")(forward)
domain.app.command("catch-all")(catch_all)
app.command()(trace)
app.command()(audit)
app.command()(restored)
app.command()(smoke)


def main() -> None:
    """Run a command; what a person can do something about is one text and an exit status."""
    try:
        app()
    except CommandError as error:
        err.print(Text.assemble(("mailboatctl: ", "bold red"), str(error)))
        raise SystemExit(error.status) from None
    except KeyboardInterrupt:
        err.print("Interrupted.")
        raise SystemExit(130) from None
