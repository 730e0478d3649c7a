"""Where a stack keeps its files, which ports it uses and which settings chose them.

One rule for ports: every listener has a base port, and listens on base + ``MB_PORT_OFFSET``; the n-th replica adds
100 x (n - 1). The last two digits of all base ports differ (but for AMQP and Erlang's distribution), so stacks whose
offsets differ by a multiple of 1000 can run side by side.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

DEFAULT_PORT_OFFSET = 2000
DEFAULT_HOSTNAME = "mail.example.test"
MAX_PORT_OFFSET = 36_000
MAX_REPLICAS = 9

BASE_PORTS: dict[str, dict[str, int]] = {
    "smtp_ingress": {"smtp": 25, "submission": 587, "submissions": 465, "admin": 9101},
    "imap_gateway": {"imap": 143, "imaps": 993, "admin": 9102},
    "pop3_gateway": {"pop3": 110, "pop3s": 995, "admin": 9103},
    "storage_api": {"rest": 80, "internal": 81, "admin": 9104},
    "storage_worker": {"admin": 9105},
    "delivery_worker": {"admin": 9106},
    "mongod": {"mongodb": 27017},
    "rabbitmq": {"amqp": 5672, "distribution": 25672},
    "epmd": {"epmd": 4369},
}
SERVICES = ("storage_api", "storage_worker", "smtp_ingress", "imap_gateway", "pop3_gateway", "delivery_worker")
CALLERS = ("smtp_ingress", "imap_gateway", "pop3_gateway", "delivery_worker")
REPLICA_STEP = 100

# What the runner itself reads; everything else named MB_* must be a setting of some service (services.py).
RUNNER_SETTINGS = ("MB_PORT_OFFSET", "MB_REPLICAS", "MB_MONGODB_URI", "MB_AMQP_URL", "MB_HOSTNAME")


class StackError(Exception):
    """The stack cannot do what was asked; the text says why and what helps. Shown to the person as it is."""

    status = 1


def ports_of(service: str, replica: int, offset: int) -> dict[str, int]:
    """The ports of one process: {"smtp": 2025, ...}; replica counts from 1."""
    return {name: base + offset + REPLICA_STEP * (replica - 1) for name, base in BASE_PORTS[service].items()}


@dataclass(frozen=True, slots=True)
class StackSettings:
    """What a running stack was started with; kept in ``stack.json``."""

    port_offset: int = DEFAULT_PORT_OFFSET
    replicas: int = 1
    hostname: str = DEFAULT_HOSTNAME
    mongodb_uri: str | None = None  # None: a mongod of our own
    amqp_url: str | None = None  # None: a RabbitMQ of our own
    passed_on: dict[str, str] = field(default_factory=dict)  # further MB_* settings for the services that take them

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], service_settings: frozenset[str]) -> StackSettings:
        """Read ``MB_*``; every fault is told at once, an unknown name with the one that was probably meant."""
        faults: list[str] = []
        known = service_settings | set(RUNNER_SETTINGS)
        passed_on: dict[str, str] = {}
        for name in sorted(n for n in environ if n.startswith("MB_") and not n.startswith("MB_API_")):
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                faults.append(f"{name}: no such setting" + (f"; did you mean {near[0]}?" if near else ""))
            elif name not in RUNNER_SETTINGS:
                passed_on[name] = environ[name]
        offset = _number(environ, "MB_PORT_OFFSET", DEFAULT_PORT_OFFSET, range(MAX_PORT_OFFSET + 1), faults)
        replicas = _number(environ, "MB_REPLICAS", 1, range(1, MAX_REPLICAS + 1), faults)
        if faults:
            raise StackError("The settings in the environment are wrong:\n  " + "\n  ".join(faults))
        return cls(
            port_offset=offset,
            replicas=replicas,
            hostname=environ.get("MB_HOSTNAME") or DEFAULT_HOSTNAME,
            mongodb_uri=environ.get("MB_MONGODB_URI") or None,
            amqp_url=environ.get("MB_AMQP_URL") or None,
            passed_on=passed_on,
        )


def _number(environ: Mapping[str, str], name: str, default: int, allowed: range, faults: list[str]) -> int:
    text = environ.get(name, "").strip()
    if not text:
        return default
    if text.isascii() and text.isdigit() and int(text) in allowed:
        return int(text)
    faults.append(f"{name}={text!r}: a whole number from {allowed.start} to {allowed.stop - 1} is needed")
    return default


@dataclass(frozen=True, slots=True)
class Layout:
    """The files of one stack, all below ``root`` (``.local``)."""

    root: Path

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def log(self) -> Path:
        return self.root / "log"

    @property
    def tls(self) -> Path:
        return self.root / "tls"

    @property
    def ca(self) -> Path:
        return self.tls / "ca.pem"

    @property
    def server_tls(self) -> Path:
        return self.tls / "server"

    @property
    def tokens(self) -> Path:
        return self.root / "tokens"

    @property
    def credentials(self) -> Path:
        return self.root / "credentials.env"

    @property
    def stack_file(self) -> Path:
        return self.root / "stack.json"

    @property
    def mongo(self) -> Path:
        return self.root / "mongodb"

    @property
    def rabbit(self) -> Path:
        return self.root / "rabbitmq"

    def log_file(self, name: str) -> Path:
        return self.log / f"{name}.log"

    def pid_file(self, name: str) -> Path:
        return self.run / f"{name}.pid"

    def create(self) -> None:
        """Make the directories; only their owner may look inside."""
        for directory in (self.root, self.run, self.log, self.tls, self.server_tls, self.tokens, self.mongo):
            directory.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o700)
