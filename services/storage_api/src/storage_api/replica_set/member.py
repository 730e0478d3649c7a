"""One mongod with access control, made a replica set of one member with storage_api's user, and kept so.

`Member.mend` looks and does what is missing, in this order; killed at any point, the next call finishes.

1. mongod answers.
2. The set is initiated. A set of one member that is recorded under another name (the release was renamed, the data
   moved) is reconfigured by force, and so is one that mongod doesn't find itself in: it looks at its own name only
   when it starts, and a new pod's name may lead to the old one for half a minute. All this only once the name leads
   to this mongod, or a wrong name would be recorded.
3. The member is primary.
4. The administrator exists and has the password wanted; the first user is made by MongoDB's localhost exception, which
   holds for connections from 127.0.0.1 while there is no user.
5. storage_api's user exists with its password and with these rights and no more: reading and writing its database,
   and finding and ending the transactions of dead processes (`store/leftovers.py`).

A password is tried once and then only when it or what MongoDB has stored of it changes, so that a round without
anything to do is four small commands. Passwords are in no log line: commands aren't logged, and MongoDB's error texts
don't repeat them.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from mailboat_common.log import get_logger

from ..db.driver import Database, Document, OperationFailure, PyMongoError, connect_member

log = get_logger(__name__)

ROLE = "mailboatTransactions"
ROLE_PRIVILEGES = [{"resource": {"cluster": True}, "actions": ["inprog", "killAnySession"]}]
ADMIN_ROLES = [{"role": "root", "db": "admin"}]
APP = "replica-set"

UNAUTHORIZED = 13
AUTHENTICATION_FAILED = 18
ALREADY_INITIALIZED = 23

_LASTING: Document = {"writeConcern": {"w": "majority", "j": True}}
_SCRAM: Document = {"mechanisms": ["SCRAM-SHA-256"]}


class Step(enum.IntEnum):
    """How far the last round came."""

    NOTHING = 0
    ANSWERS = 1
    PRIMARY = 2
    USERS = 3


class NotYet(Exception):
    """Nothing is wrong with the call, but the member isn't there yet; the text says what is missing."""


class WrongPassword(NotYet):
    """There are users, and the administrator's password is another one."""

    def __init__(self, user: str) -> None:
        super().__init__(
            f"this volume holds data of an installation in which {user!r} has another password than the one in "
            "MB_ADMIN_PASSWORD_FILE; put the Secret back that belongs to this volume, or remove the volume if its "
            "data is not wanted"
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the member shall be. `admin_password` and `password` give the present text; OSError, ValueError if none."""

    host: str
    replica_set: str
    admin_user: str
    admin_password: Callable[[], str]
    user: str
    password: Callable[[], str]
    database: str


class Member:
    """The mongod on 127.0.0.1:`port`."""

    def __init__(self, port: int, wanted: Wanted) -> None:
        self._wanted = wanted
        self._address = f"127.0.0.1:{port}"
        self._nobody = connect_member(self._address, app=APP)
        self._admin: Database | None = None
        self._admin_password = ""
        self._verified: tuple[str, Document] | None = None
        self.reached = Step.NOTHING
        """How far the last `mend` came."""

    async def mend(self) -> None:
        """Makes all as wanted. Raises NotYet, WrongPassword or a driver's error; `reached` is true in any case."""
        reached = Step.NOTHING
        try:
            hello = await self._nobody.command({"hello": 1})
            reached = Step.ANSWERS
            await self.log_in()
            if hello.get("me") != self._wanted.host:
                await self._check_name(hello)
                await self.configure(hello)
                hello = await self._nobody.command({"hello": 1})
                if hello.get("me") != self._wanted.host:
                    raise NotYet("the replica set is being reconfigured")
            if not hello.get("isWritablePrimary"):
                raise NotYet("the member is not primary yet")
            reached = Step.PRIMARY
            await self.ensure_admin()
            await self.ensure_user()
            reached = Step.USERS
        finally:
            self.reached = reached

    async def close(self) -> None:
        """Ends the connections."""
        await self._nobody.close()
        if self._admin is not None:
            await self._admin.close()

    # The administrator

    async def log_in(self) -> None:
        """Logs in as administrator, if that is possible, and sets a changed password while the old one is known."""
        password = self._wanted.admin_password()
        present = self._admin
        if present is not None and password == self._admin_password and await self._still_logged_in(present):
            return
        before, self._admin = self._admin, await self._try_log_in(password)
        if before is None:
            return
        try:
            if self._admin is None and await self._still_logged_in(before):
                await before.command({"updateUser": self._wanted.admin_user, "pwd": password, **_SCRAM, **_LASTING})
                log.info("set the administrator's changed password", user=self._wanted.admin_user)
                self._admin = await self._try_log_in(password)
        finally:
            await before.close()

    async def _try_log_in(self, password: str) -> Database | None:
        made = await self._session_of(self._wanted.admin_user, password)
        if made is not None:
            self._admin_password = password
        return made

    async def _session_of(self, user: str, password: str) -> Database | None:
        """A client that is logged in; None: no such user, or another password."""
        made = connect_member(self._address, app=APP, user=user, password=password)
        try:
            if await self._still_logged_in(made):
                return made
        except BaseException:
            await made.close()
            raise
        await made.close()
        return None

    async def _still_logged_in(self, client: Database) -> bool:
        try:
            await client.command({"ping": 1})
        except OperationFailure as error:
            if error.code != AUTHENTICATION_FAILED:
                raise
            return False
        return True

    async def _as_nobody(self, command: Document) -> None:
        """A command by the localhost exception. Raises WrongPassword if there are users already."""
        try:
            await self._nobody.command(command)
        except OperationFailure as error:
            if error.code == UNAUTHORIZED:
                raise WrongPassword(self._wanted.admin_user) from None
            raise

    async def ensure_admin(self) -> None:
        """The administrator exists and we are logged in."""
        if self._admin is not None:
            return
        name, password = self._wanted.admin_user, self._wanted.admin_password()
        await self._as_nobody({"createUser": name, "pwd": password, "roles": ADMIN_ROLES, **_SCRAM, **_LASTING})
        log.info("made the administrator", user=name)
        self._admin = await self._try_log_in(password)
        if self._admin is None:
            raise WrongPassword(name)

    # The set

    async def _check_name(self, hello: Document) -> None:
        there = connect_member(self._wanted.host, app=APP)
        try:
            found = await there.command({"hello": 1})
        except PyMongoError as error:
            raise NotYet(f"nobody answers at {self._wanted.host} (MB_MEMBER_HOST): {type(error).__name__}") from None
        finally:
            await there.close()
        if found["topologyVersion"]["processId"] != hello["topologyVersion"]["processId"]:
            raise NotYet(f"{self._wanted.host} (MB_MEMBER_HOST) leads to another mongod")

    async def configure(self, hello: Document) -> None:
        """Initiates the set, or records its one member's present name."""
        member = {"_id": 0, "host": self._wanted.host}
        if "setName" not in hello:
            try:
                await self._command({"replSetInitiate": {"_id": self._wanted.replica_set, "members": [member]}})
            except OperationFailure as error:
                if error.code != ALREADY_INITIALIZED:
                    raise
            else:
                log.info("initiated the replica set", name=self._wanted.replica_set, host=self._wanted.host)
                return
        config: Document = {"_id": self._wanted.replica_set, "version": 1, "members": [member]}
        before = hello.get("me", "")
        if self._admin is not None:  # nobody may not read it; before there is a user it is what we wrote
            config = (await self._admin.command({"replSetGetConfig": 1}))["config"]
            if len(config["members"]) != 1:
                raise NotYet("the replica set has several members: reconfigure it by hand")
            before = config["members"][0]["host"]
        name = self._wanted.host
        if before in ("", name):
            # With names that are all as they were mongod doesn't look for itself, and to clients the case makes no
            # difference. The next round sees one and sets the name wanted.
            name = name.upper()
        if name == before:
            raise NotYet(f"mongod doesn't find itself under {name}: restart it")
        config["members"][0]["host"] = name
        config["version"] += 1
        await self._command({"replSetReconfig": config, "force": True})
        log.warning("reconfigured the replica set by force", before=before, now=name)

    async def _command(self, command: Document) -> None:
        if self._admin is None:
            await self._as_nobody(command)
        else:
            await self._admin.command(command)

    # storage_api's user

    async def ensure_user(self) -> None:
        """Role and user are as wanted, and the password is."""
        assert self._admin is not None, "ensure_admin was called"
        await self._ensure_role(self._admin)
        name, password = self._wanted.user, self._wanted.password()
        roles = [{"role": "readWrite", "db": self._wanted.database}, {"role": ROLE, "db": "admin"}]
        found = await self._look_up(self._admin)
        if found is None:
            await self._admin.command({"createUser": name, "pwd": password, "roles": roles, **_SCRAM, **_LASTING})
            log.info("made the user", user=name, database=self._wanted.database)
            return
        if _sorted(found["roles"]) != _sorted(roles):
            await self._admin.command({"updateUser": name, "roles": roles, **_LASTING})
            log.warning("corrected the user's roles", user=name, before=found["roles"])
        await self._ensure_password(self._admin, password, found["credentials"])

    async def _ensure_role(self, admin: Database) -> None:
        answer = await admin.command({"rolesInfo": {"role": ROLE, "db": "admin"}, "showPrivileges": True})
        wanted = {"privileges": ROLE_PRIVILEGES, "roles": []}
        if not answer["roles"]:
            await admin.command({"createRole": ROLE, **wanted, **_LASTING})
            log.info("made the role", role=ROLE)
            return
        (role,) = answer["roles"]
        held = [{"resource": p["resource"], "actions": sorted(p["actions"])} for p in role["privileges"]]
        if held != ROLE_PRIVILEGES or role["roles"]:
            await admin.command({"updateRole": ROLE, **wanted, **_LASTING})
            log.warning("corrected the role's privileges", role=ROLE)

    async def _ensure_password(self, admin: Database, password: str, stored: Document) -> None:
        """`stored` is what MongoDB keeps of the present password."""
        if self._verified == (password, stored):
            return
        session = await self._session_of(self._wanted.user, password)
        if session is None:
            await admin.command({"updateUser": self._wanted.user, "pwd": password, **_SCRAM, **_LASTING})
            log.info("set the user's changed password", user=self._wanted.user)
        else:
            await session.close()
            self._verified = password, stored

    async def _look_up(self, admin: Database) -> Document | None:
        asked = {"user": self._wanted.user, "db": "admin"}
        answer = await admin.command({"usersInfo": asked, "showCredentials": True})
        found: list[Document] = answer["users"]
        return found[0] if found else None


def _sorted(roles: list[Document]) -> list[tuple[str, str]]:
    return sorted((role["db"], role["role"]) for role in roles)
