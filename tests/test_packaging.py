"""Every distribution builds a wheel, and a service installs alone: plain pip, only what its metadata names, no other
service.

The environment of each service holds exactly the third-party distributions that its metadata leads to (linked from the
environment of the tests, so that nothing is downloaded); pip then installs ours from the wheels and must find every
requirement fulfilled.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from email.parser import HeaderParser
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECTS = sorted(
    path.parent for part in ("libs", "services", "tools") for path in ROOT.glob(f"{part}/*/pyproject.toml")
)
SERVICES = sorted(path.parent.name for path in ROOT.glob("services/*/pyproject.toml"))
Needs = dict[str, list[Requirement]]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheels of all distributions."""
    directory = tmp_path_factory.mktemp("wheels")
    build = [*("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"), "--wheel-dir", str(directory)]
    pip(*build, *map(str, PROJECTS))
    return directory


def pip(*arguments: str, python: Path | str = sys.executable) -> str:
    """pip's output. AssertionError with its words if it fails."""
    command = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def needs_of_wheels(directory: Path) -> Needs:
    """Distribution → what its metadata requires."""
    found: Needs = {}
    for path in directory.glob("*.whl"):
        with zipfile.ZipFile(path) as wheel:
            (name,) = [entry for entry in wheel.namelist() if entry.endswith(".dist-info/METADATA")]
            head = HeaderParser().parsestr(wheel.read(name).decode())
        found[canonicalize_name(head["Name"])] = [Requirement(text) for text in head.get_all("Requires-Dist", [])]
    return found


def everything_needed(name: str, ours: Needs) -> tuple[set[str], set[str]]:
    """(our distributions, third-party distributions) that one of ours leads to."""
    seen: set[tuple[str, frozenset[str]]] = set()
    todo = [(canonicalize_name(name), frozenset[str]())]
    while todo:
        current = todo.pop()
        if current in seen:
            continue
        seen.add(current)
        distribution, extras = current
        requirements = ours.get(distribution)
        if requirements is None:
            requirements = [Requirement(text) for text in metadata.requires(distribution) or []]
        for requirement in requirements:
            wanted = ("", *extras)
            if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in wanted):
                todo.append((canonicalize_name(requirement.name), frozenset(requirement.extras)))
    names = {distribution for distribution, _ in seen}
    return names & ours.keys(), names - ours.keys()


def environment(directory: Path, third_party: set[str]) -> Path:
    """A new environment with these distributions of the present one; its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(directory)], check=True)
    (packages,) = directory.glob("lib/python*/site-packages")
    for name in third_party:
        distribution = metadata.distribution(name)
        tops = {file.parts[0] for file in distribution.files or () if file.parts[0] not in ("..", "__pycache__")}
        for top in tops:
            link = packages / top
            if not link.exists():
                link.symlink_to(Path(str(distribution.locate_file(top))))
    return directory / "bin" / "python"


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_installs_alone(wheels: Path, tmp_path: Path, service: str) -> None:
    name = service.replace("_", "-")
    ours, third_party = everything_needed(f"mailboat-{name}", needs_of_wheels(wheels))
    python = environment(tmp_path / "environment", third_party)
    pip("install", "--quiet", "--no-index", "--find-links", str(wheels), f"mailboat-{name}", python=python)
    listed = json.loads(pip("list", "--format", "json", python=python))
    installed = {canonicalize_name(row["name"]) for row in listed}
    assert {each for each in installed if each.startswith("mailboat")} == ours
    assert ours & {f"mailboat-{other.replace('_', '-')}" for other in SERVICES} == {f"mailboat-{name}"}

    every_module = (
        "import importlib, pkgutil, sys\n"
        f"package = importlib.import_module('{service}')\n"
        "for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "    if not module.name.endswith('__main__'):\n"
        "        importlib.import_module(module.name)\n"
        "print(len(sys.modules), package.__file__)"
    )
    done = subprocess.run([python, "-I", "-c", every_module], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert str(tmp_path) in done.stdout

    command = python.parent / f"mailboat-{name}"
    started = subprocess.run([command], capture_output=True, text=True, check=False, env={})
    assert started.returncode == 2, started.stderr
    assert "MB_INTERNAL_TOKEN_FILE: must be set" in started.stderr


def test_wheels_hold_their_package_and_nothing_else(wheels: Path) -> None:
    """One import package (with its `py.typed`, if it is written by hand), the metadata, and no tests."""
    built = {path.name.partition("-")[0]: path for path in wheels.glob("*.whl")}
    assert len(built) == len(PROJECTS)
    for path in built.values():
        with zipfile.ZipFile(path) as wheel:
            entries = wheel.namelist()
        tops = {entry.partition("/")[0] for entry in entries if ".dist-info/" not in entry}
        assert len(tops) == 1, (path.name, tops)
        assert [entry for entry in entries if re.search(r"(^|/)(tests?|conftest\.py|__pycache__)(/|$)", entry)] == []
        assert "proto" in path.name or f"{tops.pop()}/py.typed" in entries, path.name
