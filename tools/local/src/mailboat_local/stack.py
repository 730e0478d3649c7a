"""The stack: every process of the platform on this machine, started, watched and ended.

    stack = Stack(tmp_path, port_offset=14000, replicas=2)
    stack.up()
    stack.kill("imap_gateway-1")
    stack.start("imap_gateway-1")
    stack.down()

Synchronous throughout; a test in an event loop calls it through ``asyncio.to_thread``. One stack per directory: a lock
file makes a second ``up`` or ``down`` wait for the first.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mailboatctl.settings import ApiSettings

from mailboat_local import credentials, mongo, pki, rabbit, services
from mailboat_local.layout import SERVICES, Layout, StackError, StackSettings, ports_of
from mailboat_local.logs import readable
from mailboat_local.process import Child, Processes, check_free_space, write_private

NEEDED_DISK = 1024 * 1024 * 1024
READY_SECONDS = 120.0
SUPERVISOR = "supervisor-1"
# Ended one group after the other, the ones that others need last; started in the opposite order.
STOP_ORDER = (
    ("smtp_ingress", "imap_gateway", "pop3_gateway", "delivery_worker"),
    ("storage_api", "storage_worker"),
    ("rabbitmq",),
    ("mongod", "epmd"),
)

Progress = Callable[[Mapping[str, str]], None]
"""Called while waiting with name -> what it waits for ("" once ready)."""


class Stack:
    """One stack in one directory."""

    def __init__(
        self,
        directory: Path | str = ".local",
        port_offset: int | None = None,
        replicas: int | None = None,
        *,
        settings: StackSettings | None = None,
        extra_env: Mapping[str, Mapping[str, str]] | None = None,
        only: Iterable[str] = SERVICES,
    ) -> None:
        """``extra_env``: further environment by service ("storage_api") or process ("storage_api-2"); it may be changed
        between starts. ``only``: the services wanted, if not all."""
        self.layout = Layout(Path(directory).resolve())
        chosen = settings or StackSettings()
        if port_offset is not None:
            chosen = dataclasses.replace(chosen, port_offset=port_offset)
        if replicas is not None:
            chosen = dataclasses.replace(chosen, replicas=replicas)
        self.settings = chosen
        self.extra_env: dict[str, dict[str, str]] = {key: dict(value) for key, value in (extra_env or {}).items()}
        self.processes = Processes(self.layout)
        self._only = tuple(only)

    # --- what it is ---

    @classmethod
    def running(cls, directory: Path | str = ".local") -> Stack | None:
        """The stack that was started in this directory, with the settings it was started with; None if none was."""
        layout = Layout(Path(directory).resolve())
        recorded = _recorded(layout)
        return None if recorded is None else cls(directory, settings=StackSettings(**recorded["settings"]))

    @classmethod
    def to_end(cls, directory: Path | str = ".local") -> Stack:
        """The stack in this directory as far as it can be told: enough to end it, also if its record is damaged."""
        try:
            return cls.running(directory) or cls(directory)
        except StackError:
            return cls(directory)

    @property
    def names(self) -> list[str]:
        """The processes this stack consists of, in the order they are started."""
        own = [] if self.settings.mongodb_uri else ["mongod-1"]
        own += [] if self.settings.amqp_url else ["epmd-1", "rabbitmq-1"]
        return own + [f"{name}-{n}" for name in self._only for n in range(1, self.settings.replicas + 1)]

    def ports(self, name: str) -> dict[str, int]:
        """``ports("imap_gateway-2")`` -> {"imap": 2243, "imaps": 3093, "admin": 11202}."""
        service, _, replica = name.rpartition("-")
        return ports_of(service, int(replica), self.settings.port_offset)

    @property
    def mongodb_uri(self) -> str:
        return services.mongodb_uri(self.settings)

    @property
    def amqp_url(self) -> str:
        return services.amqp_url(self.layout, self.settings)

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.ports('storage_api-1')['rest']}"

    @property
    def api(self) -> ApiSettings:
        """The REST API with the first token."""
        return ApiSettings(self.api_url, self.env["MB_API_TOKEN"])

    @property
    def env(self) -> dict[str, str]:
        """``credentials.env``: MB_API_URL, MB_API_TOKEN and the demo accounts' passwords."""
        return credentials.load(self.layout)

    def pid(self, name: str) -> int | None:
        """The pid of a process of the stack while it runs."""
        return self.processes.pid(name)

    def child(self, name: str) -> Child:
        """How the named process is started, with the settings of this moment."""
        match name.rpartition("-")[0]:
            case "mongod":
                return mongo.mongod(self.layout, self.settings.port_offset)
            case "epmd":
                return rabbit.epmd(self.layout, self.settings.port_offset)
            case "rabbitmq":
                return rabbit.rabbitmq(self.layout, self.settings.port_offset)
            case service:
                extra = self.extra_env.get(service, {}) | self.extra_env.get(name, {})
                return services.service(self.layout, self.settings, service, int(name.rpartition("-")[2]), extra)

    # --- all of it ---

    def up(self, progress: Progress | None = None, wait_seconds: float = READY_SECONDS) -> list[str]:
        """Start what is missing, restart what runs with other settings, end what is too much; wait until all is ready.

        Returns the names of the processes that were started.
        """
        self.prepare()
        with self.locked():
            recorded = (_recorded(self.layout) or {}).get("digests", {})
            surplus = [name for name in self.processes.names() if name not in (*self.names, SUPERVISOR)]
            self._stop_in_order(surplus)
            digests: dict[str, str] = {}
            try:
                started = self._start_missing(recorded, digests, progress, wait_seconds)
                self.wait_ready(self.names, wait_seconds, progress)
            finally:  # what has been started is recorded, also if the rest could not be
                if any(self.pid(name) for name in self.names):
                    self._record(digests)
        return started

    def down(self) -> list[str]:
        """End everything, those processes included that lost their pid file; returns the names that were running."""
        running = sorted(set(self.processes.all_pids().values()))
        self.processes.stop([SUPERVISOR], seconds=60)  # it ends its children itself, under the lock
        with self.locked():
            self._stop_in_order(self.processes.names())
            self.processes.kill_rest()
            for name in self.processes.names():
                self.processes.forget(name)
            self.layout.stack_file.unlink(missing_ok=True)
        return running

    def end_children(self) -> None:
        """End every process but the supervisor, which calls this, and what they have left behind."""
        with self.locked():
            self._stop_in_order(self.processes.names())
            self.processes.kill_rest(spare=SUPERVISOR)
            self.layout.stack_file.unlink(missing_ok=True)

    def prepare(self) -> None:
        """Directories, secrets, certificates, the servers' programs: everything before the first process."""
        self.layout.create()
        check_free_space(self.layout.root, NEEDED_DISK)
        credentials.ensure(self.layout, self.ports("storage_api-1")["rest"])
        pki.ensure(self.layout, self.settings.hostname)
        if not self.settings.amqp_url:
            rabbit.ensure_installed()

    def wait_ready(
        self, names: Iterable[str] | None = None, seconds: float = READY_SECONDS, progress: Progress | None = None
    ) -> None:
        """Wait until the named processes (all, if not given) are ready.

        Raises StackError with the end of the log of one that died, or with what each waits for when the time is over.
        """
        children = [self.child(name) for name in (self.names if names is None else names)]
        waiting = {child.name: "starting" for child in children}
        deadline = time.monotonic() + seconds
        while True:
            for child in children:
                if waiting[child.name]:
                    if self.pid(child.name) is None:
                        raise StackError(self._obituary(child.name))
                    waiting[child.name] = child.ready() or ""
            if progress:
                progress(waiting)
            if not any(waiting.values()):
                return
            if time.monotonic() > deadline:
                late = "\n  ".join(f"{name}: {what}" for name, what in waiting.items() if what)
                raise StackError(f"Not ready after {seconds:.0f} s:\n  {late}\nTheir logs are in {self.layout.log}.")
            time.sleep(0.1)

    # --- one of it ---

    def start(self, name: str, wait_seconds: float | None = READY_SECONDS) -> int:
        """Start one process (no-op if it runs) and, unless ``wait_seconds`` is None, wait until it is ready."""
        pid = self.pid(name) or self.processes.start(self.child(name))
        if wait_seconds is not None:
            self.wait_ready([name], wait_seconds)
        return pid

    def stop(self, name: str, seconds: float | None = None) -> None:
        """SIGTERM, and SIGKILL once its time to finish is over."""
        self.processes.stop([name], self.child(name).stop_seconds if seconds is None else seconds)

    def kill(self, name: str) -> None:
        """SIGKILL, and wait until the process is gone. Raises StackError if it isn't running."""
        if not self.processes.kill(name):
            raise StackError(f"{name} is not running")

    def wipe_rabbitmq(self) -> None:
        """Kill the broker, throw its data away, start it empty."""
        self.kill("rabbitmq-1")
        rabbit.wipe(self.layout)
        self.start("rabbitmq-1")

    # --- inside ---

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Only one command at a time changes the stack; others wait."""
        self.layout.run.mkdir(parents=True, exist_ok=True)
        with (self.layout.run / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _start_missing(
        self, recorded: Mapping[str, str], digests: dict[str, str], progress: Progress | None, wait_seconds: float
    ) -> list[str]:
        started = []
        servers = [name for name in self.names if name.rpartition("-")[0] not in SERVICES]
        for name in self.names:
            child = self.child(name)
            if self.pid(name) is not None and recorded.get(name) not in (None, _digest(child)):
                self.stop(name)
            if self.pid(name) is None:
                if child.service == "rabbitmq":
                    self.wait_ready(["epmd-1"], wait_seconds)
                elif child.service in SERVICES:
                    # A service that finds no server looks again after growing pauses: started now it is connected
                    # sooner than one that was started with the servers.
                    self.wait_ready(servers, wait_seconds, progress)
                    servers = []
                self.processes.start(child)
                started.append(name)
            digests[name] = _digest(child)
        return started

    def _stop_in_order(self, names: Iterable[str]) -> None:
        present = list(names)
        for group in STOP_ORDER:
            members = [name for name in present if name.rpartition("-")[0] in group]
            if members:
                self.processes.stop(members, max(self.child(name).stop_seconds for name in members))

    def _record(self, digests: Mapping[str, str]) -> None:
        record: dict[str, Any] = {
            "settings": dataclasses.asdict(self.settings),
            "processes": {
                name: {"pid": self.pid(name), "ports": self.ports(name), "log": str(self.layout.log_file(name))}
                for name in self.names
            },
            "mongodb_uri": self.mongodb_uri,
            "amqp_url": self.amqp_url,
            "api_url": self.api_url,
            "ca": str(self.layout.ca),
            "digests": dict(digests),
        }
        write_private(self.layout.stack_file, json.dumps(record, indent=2) + "\n")

    def _obituary(self, name: str) -> str:
        lines = [readable(line) for line in self.processes.last_lines(name, 25)]
        words = [line.text for line in lines if line.level not in ("debug", "info")] or [line.text for line in lines]
        shown = "\n  ".join(words[-15:]) or "(it wrote nothing)"
        return f"{name} ended while it was starting. Its last words ({self.layout.log_file(name)}):\n  {shown}"


def clean(directory: Path | str) -> None:
    """End the stack and remove everything it has kept, mail included."""
    stack = Stack.to_end(directory)
    if stack.layout.root.exists():
        stack.down()
        shutil.rmtree(stack.layout.root)


def _recorded(layout: Layout) -> dict[str, Any] | None:
    if not layout.stack_file.exists():
        return None
    try:
        record: dict[str, Any] = json.loads(layout.stack_file.read_text())
        StackSettings(**record["settings"])
    except (ValueError, KeyError, TypeError) as error:
        raise StackError(f"{layout.stack_file} is damaged: make down ends what runs and removes it.") from error
    return record


def _digest(child: Child) -> str:
    text = json.dumps([child.argv, sorted(child.env.items())])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
