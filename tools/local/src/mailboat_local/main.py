"""``mailboat-local``: the command line behind the Makefile."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from mailboatctl.commands.smoke import perform
from mailboatctl.errors import CommandError
from rich.console import Console
from rich.table import Table

from mailboat_local import mongo, rabbit, services
from mailboat_local import stack as stacks
from mailboat_local.demo import Demo
from mailboat_local.display import readiness
from mailboat_local.layout import SERVICES, Layout, StackError, StackSettings
from mailboat_local.logs import Follower, Printer
from mailboat_local.process import MARK, describe_os_error
from mailboat_local.smoke import targets
from mailboat_local.stack import SUPERVISOR, Stack
from mailboat_local.supervisor import Supervisor

app = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
WIDE = 2000  # a pipe has no width: tables are as wide as what is in them
out = Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)
err = Console(stderr=True, highlight=False)
Directory = Annotated[Path, typer.Option("--directory", help="Where the stack keeps everything.")]
DEFAULT = Path(".local")


def main() -> None:
    """Run a command; what a person can do something about is one text, without a traceback."""
    try:
        app()
    except (StackError, CommandError) as error:
        err.print(f"[bold red]mailboat-local:[/] {_escape(str(error))}", soft_wrap=True)
        raise SystemExit(error.status) from None
    except OSError as error:
        err.print(f"[bold red]mailboat-local:[/] {_escape(describe_os_error(error))}", soft_wrap=True)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        err.print("Interrupted. What was started is still running; make down ends it.")
        raise SystemExit(130) from None


def _escape(text: str) -> str:
    return text.replace("[", r"\[")


@app.command()
def up(
    directory: Directory = DEFAULT,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Only this service, beside MongoDB and RabbitMQ; may be repeated. Ends the others."),
    ] = None,
) -> None:
    """Start what is missing, in the background, and wait until all of it is ready."""
    stack = _stack(directory, only)
    supervisor = stack.processes.pid(SUPERVISOR)
    if supervisor is not None:
        out.print(f"The stack is running in the foreground (make run, pid {supervisor}).")
        with readiness(out) as progress:
            stack.wait_ready(progress=progress)
        return
    for name in stack.names:
        if pid := stack.processes.stale_pid(name):
            out.print(f"{name}: pid {pid} of its pid file is gone (killed, or the machine was restarted)")
    with readiness(out) as progress:
        started = stack.up(progress)
    if started:
        out.print(f"Started {', '.join(started)}.")
    else:
        out.print("Already running; nothing to start.")
    if not only:
        _say_where(stack)


@app.command()
def demo(directory: Directory = DEFAULT) -> None:
    """Start the platform, send mail, watch it arrive, read it."""
    up(directory)
    Demo(_stack(directory), out).play()


@app.command()
def smoke(directory: Directory = DEFAULT) -> None:
    """Prove that mail works on the running stack: mailboatctl smoke with its ports, authority and metrics."""
    stack = Stack.running(directory)
    if stack is None or not any(stack.pid(name) for name in stack.names):
        raise StackError("The stack is not running. make up starts it.")
    raise typer.Exit(perform(stack.api, targets(stack)))


@app.command()
def run(directory: Directory = DEFAULT) -> None:
    """Run in the foreground: a dead process is started again, Ctrl-C ends everything."""
    root = directory.resolve()
    mark = f"{root}={SUPERVISOR}"
    if os.environ.get(MARK) != mark:
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {MARK: mark})  # noqa: S606 - ourselves
    stack = _stack(directory)
    if pid := stack.processes.pid(SUPERVISOR):
        raise StackError(f"The stack already runs in the foreground (pid {pid}).")
    if running := [name for name in stack.names if stack.pid(name)]:
        raise StackError(f"{', '.join(running)} already run in the background. make down ends them, then make run.")
    stack.layout.create()
    stack.processes.adopt(SUPERVISOR, os.getpid())
    follower = Follower(stack.layout, stack.names, from_end=True)
    printer = Printer(out, stack.names, quiet_servers=True)

    def show_logs() -> None:
        for name, line in follower.new_lines():
            printer.show(name, line)

    supervisor = Supervisor(
        stack, say=lambda text: out.print(text, style="bold"), show_logs=show_logs, clock=time.monotonic
    )
    try:
        with readiness(out) as progress:
            stack.up(progress)
        _say_where(stack)
        out.print("Ctrl-C ends everything.")
        supervisor.run()
        out.print("Ending everything ...")
    except KeyboardInterrupt:
        out.print("Interrupted; ending everything ...")
    finally:
        supervisor.end()
    out.print("Ended.")


@app.command()
def down(directory: Directory = DEFAULT) -> None:
    """End everything; no process stays behind."""
    if not directory.exists():
        out.print("Nothing is running here.")
        return
    stack = Stack.to_end(directory)
    with err.status("Ending the stack ..."):
        ended = stack.down()
    out.print(f"Ended {', '.join(ended)}." if ended else "Nothing was running.")


@app.command()
def status(directory: Directory = DEFAULT) -> None:
    """What runs, where it listens, whether it is ready. Exit status 1 unless all is ready."""
    stack = Stack.running(directory)
    if stack is None:
        out.print("The stack is not running. make up starts it.")
        raise typer.Exit(1)
    table = Table("process", "state", "pid", "ports", box=None, pad_edge=False)
    healthy = True
    for name in stack.names:
        pid = stack.pid(name)
        if pid is None:
            stale = stack.processes.stale_pid(name)
            state = f"[red]dead[/] (pid {stale} is gone; make up starts it)" if stale else "[red]not started[/]"
        else:
            missing = stack.child(name).ready()
            state = "[green]ready[/]" if missing is None else f"[yellow]{_escape(missing)}[/]"
        healthy &= pid is not None and missing is None
        ports = ", ".join(f"{label} {port}" for label, port in stack.ports(name).items())
        table.add_row(name, state, str(pid or "-"), ports)
    out.print(table)
    raise typer.Exit(0 if healthy else 1)


@app.command()
def logs(
    names: Annotated[list[str] | None, typer.Argument(help="Processes, such as imap_gateway-1; all if none.")] = None,
    directory: Directory = DEFAULT,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", help="How many of the last lines of each.")] = 20,
    raw: Annotated[bool, typer.Option("--raw", help="The lines as they were written.")] = False,
) -> None:
    """Show the processes' logs."""
    layout = Layout(directory.resolve())
    present = sorted(path.stem for path in layout.log.glob("*.log")) if layout.log.is_dir() else []
    wanted = [name for name in present if not names or name in names or name.rpartition("-")[0] in names]
    if not wanted:
        raise StackError(f"No such log. There are: {', '.join(present) or 'none yet; make up starts the stack'}.")
    printer = Printer(out, wanted, raw=raw)
    follower = Follower(layout, wanted, from_end=True)
    stack = Stack(directory)
    for name in wanted:
        for line in stack.processes.last_lines(name, lines):
            printer.show(name, line)
    while follow:
        for name, line in follower.new_lines():
            printer.show(name, line)
        time.sleep(0.2)


@app.command()
def servers() -> None:
    """Make sure that the programs of the real servers are on this machine; install what is missing."""
    if "MB_MONGODB_URI" not in os.environ:
        mongo.find_mongod()
    if "MB_AMQP_URL" not in os.environ:
        rabbit.ensure_installed()


@app.command()
def clean(directory: Directory = DEFAULT) -> None:
    """End the stack and remove its directory with all mail in it."""
    stacks.clean(directory)
    out.print(f"{directory} is gone.")


def _stack(directory: Path, only: list[str] | None = None) -> Stack:
    """The stack as the environment wants it, or `only` some of its services; what the environment doesn't name stays
    as in a running stack.
    """
    if unknown := set(only or ()) - set(SERVICES):
        raise StackError(f"No service {', '.join(sorted(unknown))}. There are {', '.join(SERVICES)}.")
    wanted = StackSettings.from_environment(os.environ, services.all_settings())
    running = Stack.running(directory)
    if running is None or not any(running.pid(name) for name in running.names):
        return Stack(directory, settings=wanted, only=only or SERVICES)
    kept = running.settings
    for variable, have, want in (
        ("MB_PORT_OFFSET", kept.port_offset, wanted.port_offset),
        ("MB_MONGODB_URI", kept.mongodb_uri, wanted.mongodb_uri),
        ("MB_AMQP_URL", kept.amqp_url, wanted.amqp_url),
    ):
        if variable in os.environ and have != want:
            raise StackError(f"The stack is running with another {variable}. make down first.")
    replicas = wanted.replicas if "MB_REPLICAS" in os.environ else kept.replicas
    hostname = wanted.hostname if "MB_HOSTNAME" in os.environ else kept.hostname
    return Stack(
        directory,
        settings=StackSettings(
            port_offset=kept.port_offset, replicas=replicas, hostname=hostname, mongodb_uri=kept.mongodb_uri,
            amqp_url=kept.amqp_url, passed_on=kept.passed_on | wanted.passed_on,
        ),
        only=only or SERVICES,
    )  # fmt: skip


def _say_where(stack: Stack) -> None:
    smtp, imap, pop3 = (stack.ports(f"{name}-1") for name in ("smtp_ingress", "imap_gateway", "pop3_gateway"))
    out.print(
        f"SMTP {smtp['smtp']}, submission {smtp['submission']} (STARTTLS) and {smtp['submissions']} (TLS); "
        f"IMAP {imap['imap']} and {imap['imaps']} (TLS); POP3 {pop3['pop3']} and {pop3['pop3s']} (TLS); "
        f"REST {stack.api_url}\n"
        f"CA certificate {stack.layout.ca}, first API token in {stack.layout.credentials}",
        soft_wrap=True,
    )
