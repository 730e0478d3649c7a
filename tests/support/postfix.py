"""Debian's Postfix as the remote server: configuration, queue and data below a directory, on ports of its own.

    node = PostfixNode(tmp_path, {"b.example": ["bob"]}, tls=(certificate, key)); node.start(); ...; node.stop()

Mail for its users arrives in `mail/<user>/new` of the directory, one file a message. Installed by apt if it is missing,
its service left off. Postfix's own daemons change to users of their own, so it needs root; it is ended by its own
`postfix stop`.
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from mailboat_local import apt
from mailboat_local.layout import StackError

from tests.support.rabbitmq import free_ports

_MAIN = """\
compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = {directory}/log
maillog_file_prefixes = {directory}
myhostname = {host}
mydestination =
local_recipient_maps =
alias_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 192.0.2.0/24
virtual_mailbox_domains = {domains}
virtual_mailbox_base = {directory}/mail
virtual_mailbox_maps = texthash:{directory}/users
virtual_minimum_uid = 1
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
smtpd_recipient_restrictions = reject_unauth_destination
smtpd_peername_lookup = no
smtputf8_enable = yes
{extra}
"""
_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
error unix - - n - - error
virtual unix - n n - - virtual
tlsmgr unix - - n 1000? 1 tlsmgr
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


class PostfixNode:
    """One instance. `settings`: further lines of main.cf."""

    def __init__(
        self,
        directory: Path,
        users: Mapping[str, Sequence[str]],
        *,
        host: str = "mx.b.example",
        tls: tuple[Path, Path] | None = None,
        settings: Sequence[str] = (),
    ) -> None:
        _installed()
        self.directory = directory
        (self.port,) = free_ports(1)
        self._config = directory / "etc"
        owner = pwd.getpwnam("postfix")
        for name in ("etc", "queue", "data", "mail"):
            (directory / name).mkdir(parents=True)
        for name in ("data", "mail"):
            os.chown(directory / name, owner.pw_uid, owner.pw_gid)
        for folder in (directory, *directory.parents):  # the daemons reach it as a user of their own
            if folder.owner() == pwd.getpwuid(os.getuid()).pw_name and folder != Path("/"):
                folder.chmod(folder.stat().st_mode | 0o011)
        lines = "".join(f"{user}@{domain} {user}/\n" for domain, names in users.items() for user in names)
        (directory / "users").write_text(lines, "utf-8")
        extra = list(settings)
        if tls is not None:
            extra += ["smtpd_tls_security_level = may", f"smtpd_tls_chain_files = {tls[1]} {tls[0]}"]
        main = _MAIN.format(
            directory=directory,
            host=host,
            domains=" ".join(users),
            uid=owner.pw_uid,
            gid=grp.getgrnam("postfix").gr_gid,
            extra="\n".join(extra),
        )
        (self._config / "main.cf").write_text(main)
        (self._config / "master.cf").write_text(_MASTER.format(port=self.port))

    def start(self) -> None:
        """Returns once it listens."""
        self._run("start")

    def stop(self) -> None:
        """Ends its daemons."""
        self._run("stop", check=False)

    def mail(self, user: str) -> list[bytes]:
        """What has arrived for a user, with Postfix's own header fields."""
        new = self.directory / "mail" / user / "new"
        return [path.read_bytes() for path in sorted(new.iterdir())] if new.is_dir() else []

    def log(self) -> str:
        """What it logged."""
        path = self.directory / "log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def _run(self, command: str, *, check: bool = True) -> None:
        done = subprocess.run(
            ["/usr/sbin/postfix", "-c", str(self._config), command], capture_output=True, check=False, timeout=60
        )
        assert not check or done.returncode == 0, (done.stdout, done.stderr, self.log())


def _installed() -> None:
    if shutil.which("postfix", path="/usr/sbin:/usr/bin") is None:
        try:
            apt.install(["postfix"], why="a remote server that the tests deliver to")
        except StackError as error:
            pytest.fail(str(error))
        apt.disable_service("postfix.service")
