"""A real RabbitMQ node for tests: its own name, cookie, ports and data below a directory; ended by pid.

node = RabbitNode(tmp_path); node.start(); ...; node.kill(); node.wipe(); node.start(); node.close()
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
START_SECONDS = 90.0
PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"


class RabbitNode:
    """One broker on free loopback ports; it keeps its ports and, unless wiped, its data over restarts."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port, self._distribution_port, self._epmd_port = free_ports(3)
        self._name = f"test{self.port}@localhost"
        self._epmd: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None
        (directory / "log").mkdir(parents=True)
        cookie = directory / ".erlang.cookie"
        cookie.write_text(secrets.token_hex(16))
        cookie.chmod(0o400)
        (directory / "enabled_plugins").write_text("[].\n")
        (directory / "env.conf").write_text("")
        (directory / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\n"
            "disk_free_limit.absolute = 50MB\nraft.wal_max_size_bytes = 16000000\nlog.console = true\nlog.file = false\n"
        )

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Starts the node and waits until it speaks AMQP; RuntimeError with the log's end if it doesn't."""
        if self._epmd is None:
            self._epmd = self._spawn(["epmd"], "epmd.log")
            _wait(lambda: _answers(self._epmd_port), "epmd", self._epmd, self.directory / "log" / "epmd.log")
        self._server = self._spawn([str(SERVER)], "server.log")
        _wait(self._speaks_amqp, "RabbitMQ", self._server, self.directory / "log" / "server.log")

    def kill(self) -> None:
        """SIGKILL, as by power loss."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM: an orderly end."""
        self._end(signal.SIGTERM)

    def wipe(self) -> None:
        """Throws all data away, as a lost volume would; the node must not run."""
        shutil.rmtree(self.directory / "data", ignore_errors=True)

    def close(self) -> None:
        """Ends everything."""
        self._end(signal.SIGKILL)
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()

    def _spawn(self, command: list[str], log: str) -> subprocess.Popen[bytes]:
        home = self.directory
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(home),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_CRASH_DUMP_BYTES": "0",
            "RABBITMQ_NODENAME": self._name,
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(home / "env.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(home / "data"),
            "RABBITMQ_LOG_BASE": str(home / "log"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} -start_epmd false",
            # Makes the start script exec the Erlang VM, so that the pid is the broker's and not a shell's.
            "RUNNING_UNDER_SYSTEMD": "true",
        }
        with (home / "log" / log).open("ab") as output:
            return subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)

    def _end(self, number: signal.Signals) -> None:
        if self._server is not None:
            self._server.send_signal(number)
            self._server.wait(60)
            self._server = None

    def _speaks_amqp(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(PROTOCOL_HEADER)
                return connection.recv(1) == b"\x01"
        except OSError:
            return False


def free_ports(count: int) -> list[int]:
    """Ports that are free now on the loopback interface, all different."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def _wait(ready: Callable[[], bool], what: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not start: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.1)
