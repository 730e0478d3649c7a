"""docs/clients.md is true: every fact names a test that is there, and every client that the tests run is listed."""

from __future__ import annotations

import re

import pytest

from tests.interop.programs import PACKAGES
from tests.support.documents import ROOT, quoted, section, table

DOCUMENT = "docs/clients.md"
PROGRAMS = [row for row in table(DOCUMENT, "client") if len(row) == 5]
FACTS = [row for row in table(DOCUMENT, "client") if len(row) == 3]
TEST = re.compile(r"(?P<path>[\w/.-]+\.py)::(?P<name>test_\w+)")


def exists(guard: str) -> bool:
    """Whether a guard, `path.py::test_name` or a transcript's path, is there."""
    if test := TEST.fullmatch(guard):
        path = ROOT / test["path"]
        return (
            path.is_file()
            and re.search(rf"^(?:async )?def {test['name']}\(", path.read_text("utf-8"), re.M) is not None
        )
    return re.fullmatch(r"tests/transcripts/[\w-]+\.txt", guard) is not None and (ROOT / guard).is_file()


def test_the_tables_are_found() -> None:
    assert len(PROGRAMS) > 10
    assert len(FACTS) > 20
    assert len(PROGRAMS) + len(FACTS) == len(table(DOCUMENT, "client"))


@pytest.mark.parametrize("row", FACTS, ids=lambda row: row[1][:40])
def test_every_fact_names_tests_that_exist(row: list[str]) -> None:
    client, fact, guards = row
    assert client
    assert fact
    assert guards
    assert quoted(guards)
    assert [guard for guard in quoted(guards) if not exists(guard)] == []


def test_every_client_that_the_tests_run_is_listed() -> None:
    listed = [path for row in PROGRAMS for path in quoted(row[4])]
    assert sorted(listed) == sorted(
        path.relative_to(ROOT).as_posix() for path in (ROOT / "tests" / "interop").glob("test_*.py")
    )


def test_the_readme_says_what_is_installed() -> None:
    wanted = {package for packages in PACKAGES.values() for package in packages}
    assert wanted - set(quoted(section("README.md", "Try it"))) == set()


@pytest.mark.parametrize(
    "guard",
    [
        "tests/test_clients_doc.py::test_that_is_not_there",
        "tests/no_such_file.py::test_x",
        "tests/transcripts/none.txt",
        "tests/transcripts/player.py",
        "README.md",
    ],
)
def test_what_is_no_guard_is_noticed(guard: str) -> None:
    assert not exists(guard)
