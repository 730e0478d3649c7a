"""mailboat-replica-set: ready while its mongod is primary and the users are as wanted. Nothing to drain."""

from __future__ import annotations

from mailboat_common.config import SecretFile, load
from mailboat_common.errors import StartupError
from mailboat_common.lifecycle import Lifecycle, Start, run

from .keeper import Keeper
from .member import Member, Step, Wanted
from .settings import Settings


def serve(settings: Settings) -> Start:
    """The life of the process."""

    async def start(life: Lifecycle) -> None:
        admin_password, password = SecretFile(settings.admin_password_file), SecretFile(settings.password_file)
        try:
            admin_password.text(), password.text()
        except (OSError, ValueError) as error:
            raise StartupError(str(error)) from error
        wanted = Wanted(
            host=settings.member_host,
            replica_set=settings.replica_set,
            admin_user=settings.admin_user,
            admin_password=admin_password.text,
            user=settings.user,
            password=password.text,
            database=settings.database,
        )
        member = Member(settings.mongodb_port, wanted)
        keeper = Keeper(member)
        life.add_check("mongodb", lambda: member.reached >= Step.ANSWERS)
        life.add_check("primary", lambda: member.reached >= Step.PRIMARY)
        life.add_check("users", lambda: member.reached >= Step.USERS)
        life.on_close(member.close)
        life.spawn(keeper.run(), "replica-set")

    return start


def main() -> None:
    """The process's entry."""
    settings = load(Settings)
    run("replica_set", settings, serve(settings))
