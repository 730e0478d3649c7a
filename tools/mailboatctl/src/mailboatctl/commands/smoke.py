"""``mailboatctl smoke``: the proof that mail works on this platform, for ``helm test`` and for people."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from mailboatctl import context
from mailboatctl.client import Client
from mailboatctl.errors import Unreachable, WrongUse
from mailboatctl.output import Column, err, print_json_line, print_table
from mailboatctl.settings import ApiSettings
from mailboatctl.smoke import endpoint, metrics
from mailboatctl.smoke.runner import Result
from mailboatctl.smoke.steps import Smoke, Targets

HOST_PORT = "HOST:PORT"
NAMED = ("step", "ok", "seconds", "skipped")  # the members of a line that have columns of their own

# (ok, with an error, skipped)
WORDS = {
    (True, False, False): "passed",
    (False, True, False): "FAILED",
    (False, True, True): "not tried",
    (False, False, True): "not asked for",
}
COLUMNS: tuple[Column, ...] = (
    ("step", lambda line: line["step"]),
    ("result", lambda line: WORDS[line["ok"], "error" in line, line.get("skipped", False)]),
    ("seconds", lambda line: "" if line.get("skipped") else f"{line['seconds']:.3f}"),
    ("detail", lambda line: " ".join(_detail(name, value) for name, value in line.items() if name not in NAMED)),
)


def smoke(
    *,
    smtp: Annotated[str, typer.Option(metavar=HOST_PORT, help="Reception, with STARTTLS.")] = "localhost:2025",
    submission: Annotated[str, typer.Option(metavar=HOST_PORT, help="Submission, with STARTTLS.")] = "localhost:2587",
    imaps: Annotated[str, typer.Option(metavar=HOST_PORT, help="IMAP over TLS.")] = "localhost:2993",
    pop3s: Annotated[str, typer.Option(metavar=HOST_PORT, help="POP3 over TLS.")] = "localhost:2995",
    metrics_urls: Annotated[
        list[str] | None,
        typer.Option(
            "--metrics", metavar="URL", help="Metrics of the gateways, at all addresses of the host; may be repeated."
        ),
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Whom to trust instead of the system's authorities.")
    ] = None,
    domain: Annotated[
        str | None, typer.Option(metavar="NAME", help="A domain that is there and stays; else a temporary one.")
    ] = None,
    timeout: Annotated[int, typer.Option(metavar="SECONDS", help="The limit of each step.", min=1, max=3600)] = 30,
) -> None:
    """Prove that mail works: send it in both ways, see it arrive, read it in both ways.

    Everything is done with a temporary account, which is removed at the end. Each step is a JSON line on stdout; a
    summary follows on stderr. Exit status 1: a step failed; 3: the API is not reachable.
    """
    settings = context.api_settings()
    targets = Targets(
        smtp=endpoint.parse("--smtp", smtp),
        submission=endpoint.parse("--submission", submission),
        imaps=endpoint.parse("--imaps", imaps),
        pop3s=endpoint.parse("--pop3s", pop3s),
        metrics=tuple(metrics.check_url("--metrics", url) for url in metrics_urls or []),
        tls=trusting(ca_file),
        domain=domain or None,
        timeout=timeout,
    )
    raise typer.Exit(perform(settings, targets))


def perform(settings: ApiSettings, targets: Targets) -> int:
    """Test, show, and return the exit status: 0 all is well, 1 a step failed, 3 the API is not reachable."""
    results = Smoke(lambda: Client(settings), targets, lambda result: print_json_line(result.line())).run()
    print_table(COLUMNS, [result.line() for result in results], err)
    err.print(verdict(results))
    if results[0].outcome.status == Unreachable.status:
        return Unreachable.status
    return int(any(result.failed for result in results))


def trusting(ca_file: Path | None) -> ssl.SSLContext:
    """TLS for clients who trust these authorities (PEM), or the system's. Raises WrongUse."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError as error:
        raise WrongUse(f"--ca-file {ca_file} holds no certificates.") from error
    except OSError as error:
        raise WrongUse(f"--ca-file {ca_file} cannot be read: {error.strerror}.") from error


def verdict(results: list[Result]) -> Text:
    """The last line for people: passed or failed, and what was left out."""
    if wrong := [result for result in results if result.failed]:
        tried = [result for result in wrong if not result.skipped] or wrong
        return Text(f"Smoke test failed: {', '.join(result.step for result in tried)}.", style="bold red")
    left_out = [result.step for result in results if result.skipped]
    text = Text("Smoke test passed.", style="bold green")
    if left_out:
        text.append(f" Not part of it, because nobody asked: {', '.join(left_out)}.", style="bold yellow")
    return text


def _detail(name: str, value: object) -> str:
    if name in ("error", "reason"):
        return str(value)
    if isinstance(value, dict):
        value = ",".join(f"{key}:{one}" for key, one in value.items())
    elif isinstance(value, list):
        value = ",".join(map(str, value))
    return f"{name}={value}"
