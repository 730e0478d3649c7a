"""The release before this one, beside it: its services, with their own third-party packages, in the same stack.

Which that is: the last tag before the tree under test, or, while there is none, the revision in the file
`previous_release`. Its files and its environment are made once, below `.local/previous-release/<revision>`. A service of
either release gets exactly the settings that it knows.
"""

from __future__ import annotations

import dataclasses
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

from mailboat_local.layout import SERVICES
from mailboat_local.process import Child
from mailboat_local.services import PACKAGES
from mailboat_local.stack import Stack

ROOT = Path(__file__).parents[2]
NAMED = Path(__file__).with_name("previous_release")
_SETTINGS = """
import importlib, json, sys
known = lambda package: importlib.import_module(package + ".settings").Settings.model_fields
print(json.dumps({package: ["MB_" + field.upper() for field in known(package)] for package in sys.argv[1:]}))
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Release:
    """An installed release. `known`: package -> names of the settings that it knows."""

    revision: str
    programs: Path
    known: dict[str, list[str]]

    def child(self, child: Child) -> Child:
        """The process as this release is started."""
        package = PACKAGES[child.service]
        program = self.programs / f"mailboat-{package.replace('_', '-')}"
        env = {name: value for name, value in child.env.items() if name in self.known[package]}
        return dataclasses.replace(child, argv=(str(program),), env=env)


class TwoReleases(Stack):
    """A stack whose processes named in `before` are started as the release before."""

    def __init__(self, *args: Any, release: Release, **options: Any) -> None:
        super().__init__(*args, **options)
        self.release = release
        self.before: set[str] = set()

    def child(self, name: str) -> Child:
        """How the named process is started."""
        child = super().child(name)
        return self.release.child(child) if name in self.before else child


def previous_revision() -> str:
    """The commit of the release before. Raises CalledProcessError where the history lacks it (a shallow clone)."""
    tag = subprocess.run(
        ["git", "describe", "--tags", "--abbrev=0", "HEAD^"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    name = tag.stdout.strip() if tag.returncode == 0 else NAMED.read_text().strip()
    return _output("git", "rev-parse", "--verify", f"{name}^{{commit}}").decode().strip()


def installed(revision: str) -> Release:
    """The release, installed if it isn't yet."""
    tree = ROOT / ".local" / "previous-release" / revision
    programs = tree / ".venv" / "bin"
    ready = tree / ".ready"
    if not ready.exists():
        tree.mkdir(parents=True, exist_ok=True)
        with tarfile.open(fileobj=io.BytesIO(_output("git", "archive", revision))) as files:
            files.extractall(tree, filter="data")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(tree / ".venv")], check=True)
        pip = [str(programs / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        pinned = ["--require-hashes", "-r", "requirements-build.txt", "-r", "requirements.txt"]
        subprocess.run([*pip, *pinned], cwd=tree, check=True)
        own = [str(part.parent) for kind in ("libs", "services") for part in tree.glob(f"{kind}/*/pyproject.toml")]
        subprocess.run([*pip, "--no-build-isolation", "--no-deps", *own], cwd=tree, check=True)
        ready.touch()
    packages = sorted({PACKAGES[service] for service in SERVICES})
    known = json.loads(_output(str(programs / "python"), "-c", _SETTINGS, *packages))
    return Release(revision, programs, known)


def _output(*command: str) -> bytes:
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
