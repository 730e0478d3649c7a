"""Ending the transactions that dead processes left behind (store.md, rule 7).

mongod keeps the transaction of a killed client until its lifetime ends (five seconds by our setting, sixty by default),
and every document it wrote refuses other writers meanwhile. Ours are known by their appName (`mailboat-...`); one that
has been idle for over a second belongs to a process that is dead, stopped or starved, and the committer's retry loop
makes it safe to end. Privileges needed: inprog and killAnySession on the cluster.
"""

from __future__ import annotations

import re

from mailboat_common.log import get_logger

from ..db.driver import APP_PREFIX, Database, PyMongoError
from . import metrics

log = get_logger(__name__)

IDLE_MICROSECONDS = 1_000_000
_NEEDED = ("inprog", "killAnySession")


async def end_idle_transactions(db: Database) -> int:
    """End our transactions that have been idle for over a second. Returns how many; 0 also when we may not look."""
    try:
        found = await db.admin_aggregate(
            [
                {"$currentOp": {"allUsers": True, "idleSessions": True}},
                {
                    "$match": {
                        "active": False,
                        "appName": {"$regex": f"^{re.escape(APP_PREFIX)}"},
                        "transaction.timeInactiveMicros": {"$gt": IDLE_MICROSECONDS},
                    }
                },
                {"$project": {"lsid": 1, "appName": 1}},
            ]
        )
        if not found:
            return 0
        await db.admin_command(
            {"killAllSessionsByPattern": [{"lsid": {"id": d["lsid"]["id"], "uid": d["lsid"]["uid"]}} for d in found]}
        )
    except PyMongoError as error:
        log.warning("Could not look for transactions of dead processes", error=str(error))
        return 0
    metrics.killed_transactions.inc(len(found))
    log.warning("Ended transactions of dead processes", apps=sorted({d["appName"] for d in found}))
    return len(found)


async def check_privileges(db: Database) -> list[str]:
    """The privileges missing for `end_idle_transactions`; warns about them. Empty without access control."""
    answer = await db.admin_command({"connectionStatus": 1, "showPrivileges": True})
    info = answer["authInfo"]
    if not info["authenticatedUsers"]:
        return []
    held = {
        action
        for privilege in info.get("authenticatedUserPrivileges", ())
        if privilege["resource"].get("cluster") or privilege["resource"].get("anyResource")
        for action in privilege["actions"]
    }
    missing = [action for action in _NEEDED if action not in held and "anyAction" not in held]
    if missing:
        log.warning(
            "The MongoDB user lacks privileges: after a crash a mailbox may refuse writes for seconds",
            privileges=missing,
        )
    return missing
