"""A real RabbitMQ of the stack's own: its node name, cookie, epmd, ports and data are below ``.local``.

Used in this order: ``MB_AMQP_URL`` (then nothing is started), an installed RabbitMQ, Debian's package by apt. The
package's own service is never started: the node runs from ``/usr/lib/rabbitmq/bin`` as the owner of ``.local``. The
port mapper (epmd) is started here too, in the foreground, so that ``down`` ends it like any other process.
"""

from __future__ import annotations

import secrets
import shutil
import socket
from pathlib import Path

from mailboat_local import apt
from mailboat_local.layout import Layout, StackError, ports_of
from mailboat_local.process import Child, write_private

SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
NODE = "mailboat@localhost"
USER = "mailboat"


def ensure_installed() -> None:
    """Install Debian's package if there is no RabbitMQ."""
    if SERVER.exists() and shutil.which("epmd"):
        return
    apt.install(["rabbitmq-server"], why="the message bus; MB_AMQP_URL would name another")
    apt.disable_service("rabbitmq-server.service")
    if not SERVER.exists():
        raise StackError(f"RabbitMQ is installed but {SERVER} is not there. Name a running one in MB_AMQP_URL.")


def password(layout: Layout) -> str:
    """The broker's password for the stack's services, made once."""
    path = layout.tokens / "rabbitmq"
    if not path.exists():
        write_private(path, secrets.token_urlsafe(24) + "\n")
    return path.read_text().strip()


def url(layout: Layout, offset: int) -> str:
    """Where the stack's own broker is reached."""
    return f"amqp://{USER}:{password(layout)}@127.0.0.1:{ports_of('rabbitmq', 1, offset)['amqp']}/"


def epmd(layout: Layout, offset: int) -> Child:
    """Erlang's port mapper, on the loopback interface only."""
    ports = ports_of("epmd", 1, offset)
    env = {"ERL_EPMD_ADDRESS": "127.0.0.1", "ERL_EPMD_PORT": str(ports["epmd"]), "HOME": str(layout.rabbit)}
    program = shutil.which("epmd")
    if program is None:
        raise StackError("Erlang's epmd is not on the PATH. Install erlang-base, or name a RabbitMQ in MB_AMQP_URL.")
    return Child(
        name="epmd-1", argv=(program,), env=env, ports=ports, ready=lambda: _names(ports["epmd"]), stop_seconds=3
    )


def rabbitmq(layout: Layout, offset: int) -> Child:
    """The broker's node."""
    ports = ports_of("rabbitmq", 1, offset)
    home = layout.rabbit
    for directory in (home, home / "data", home / "log"):
        directory.mkdir(parents=True, exist_ok=True)
    cookie = home / ".erlang.cookie"
    if not cookie.exists():
        write_private(cookie, secrets.token_hex(16), mode=0o400)
    config = home / "rabbitmq.conf"
    write_private(config, _config(ports["amqp"], password(layout)))
    (home / "enabled_plugins").write_text("[].\n")
    (home / "rabbitmq-env.conf").write_text("")
    env = {
        "HOME": str(home),
        "ERL_EPMD_PORT": str(ports_of("epmd", 1, offset)["epmd"]),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": NODE,
        "RABBITMQ_DIST_PORT": str(ports["distribution"]),
        "RABBITMQ_CONF_ENV_FILE": str(home / "rabbitmq-env.conf"),
        "RABBITMQ_CONFIG_FILE": str(config),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
        "RABBITMQ_MNESIA_BASE": str(home / "data"),
        "RABBITMQ_LOG_BASE": str(home / "log"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} -start_epmd false",
        "RABBITMQ_LOG": "-color",
        "ERL_CRASH_DUMP_BYTES": "0",
        # The start script then replaces itself by the Erlang VM: the pid we record is the broker's, not a shell's.
        "RUNNING_UNDER_SYSTEMD": "true",
    }
    return Child(
        name="rabbitmq-1", argv=(str(SERVER),), env=env, ports=ports, ready=lambda: _answers(ports["amqp"]),
        stop_seconds=20,
    )  # fmt: skip


def wipe(layout: Layout) -> None:
    """Throw the node's data away, as a lost volume would."""
    shutil.rmtree(layout.rabbit / "data", ignore_errors=True)


def _config(port: int, secret: str) -> str:
    return "\n".join(
        (
            f"listeners.tcp.1 = 127.0.0.1:{port}",
            f"default_user = {USER}",
            f"default_pass = {secret}",
            "loopback_users.guest = true",
            "disk_free_limit.absolute = 50MB",
            "raft.wal_max_size_bytes = 64000000",
            "log.console = true",
            "log.console.level = info",
            "log.file = false",
            "",
        )
    )


def _names(port: int) -> str | None:
    """None once epmd answers the request for its names (a length of 1, and "n")."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"\x00\x01n")
            return None if connection.recv(4) else "starting"
    except OSError:
        return "not reachable yet"


def _answers(port: int) -> str | None:
    """None once somebody accepts. RabbitMQ listens as the last step of its start; a protocol header sent here, and
    nothing after it, would be a warning in its log."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return None
    except OSError:
        return "not reachable yet"
