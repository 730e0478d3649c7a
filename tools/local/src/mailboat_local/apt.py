"""Debian packages the stack needs, installed without ever starting their services."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mailboat_local.layout import StackError

POLICY = Path("/usr/sbin/policy-rc.d")
SYSTEMD = Path("/run/systemd/system")


def install(packages: list[str], why: str) -> None:
    """``apt-get install``, as root or through sudo; a StackError says what to do when neither is possible."""
    wanted = " ".join(packages)
    if shutil.which("apt-get") is None:
        raise StackError(f"{wanted}: not installed ({why}), and this system has no apt-get. Install by hand.")
    prefix = _root_prefix(wanted, why)
    print(f"Installing {wanted} ({why}) ...", flush=True)
    apt = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=120"]
    with tempfile.TemporaryFile("w+") as output, _services_stay_off(prefix):
        for step in (["update"], ["install", "--no-install-recommends", *packages]):
            done = subprocess.run([*apt, *step], stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False)
            if done.returncode and step[0] == "install":
                output.seek(0)
                last = "\n  ".join(output.read().splitlines()[-8:])
                raise StackError(f"apt-get could not install {wanted}:\n  {last}")


def disable_service(unit: str) -> None:
    """Keep a unit that a package has just brought from starting at the next boot."""
    if SYSTEMD.exists():
        subprocess.run([*_root_prefix(unit, "to disable it"), "systemctl", "disable", "--quiet", unit], check=False)


def _root_prefix(wanted: str, why: str) -> list[str]:
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo"):
        interactive = [] if sys.stdin.isatty() else ["-n"]
        if subprocess.run(["sudo", *interactive, "true"], check=False).returncode == 0:
            return ["sudo", *interactive]
    raise StackError(
        f"{wanted} is needed ({why}) and this user can neither be root nor use sudo. "
        f"Ask someone who can for: apt-get install {wanted}"
    )


@contextlib.contextmanager
def _services_stay_off(prefix: list[str]) -> Iterator[None]:
    """Debian's own switch: while policy-rc.d answers 101 no package starts its service."""
    if POLICY.exists():
        yield
        return
    with tempfile.NamedTemporaryFile("w", suffix=".policy", delete=False) as policy:
        policy.write("#!/bin/sh\nexit 101\n")
    try:
        subprocess.run([*prefix, "install", "-m", "755", policy.name, str(POLICY)], check=True)
        yield
    finally:
        subprocess.run([*prefix, "rm", "-f", str(POLICY), policy.name], check=True)
