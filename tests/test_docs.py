"""What the documents name exists: files, links, tests, make targets, commands of mailboatctl."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.documents import ROOT, quoted, section, table

DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for path in (
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        ROOT / "tools/local/README.md",
        ROOT / "deploy/helm/mailboat/README.md",
    )
)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
PATH = re.compile(r"(?:services|libs|tools|tests|docs|proto|bench)/[\w./*-]+")
TEST = re.compile(r"([\w/.-]+\.py)::(test_\w+\*?|test_\*)")
MAKE = re.compile(r"\bmake ([a-z]+(?:-[a-z]+)?)\b")


def text_of(document: str) -> str:
    return (ROOT / document).read_text("utf-8")


def functions_in(path: Path) -> list[str]:
    return re.findall(r"^\s*(?:async )?def (test_\w+)", path.read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_and_paths_lead_somewhere(document: str) -> None:
    base = (ROOT / document).parent
    links = [link for link in LINK.findall(text_of(document)) if "://" not in link]
    assert [link for link in links if not (base / link).exists()] == []
    paths = [path for name in quoted(text_of(document)) if (path := name.partition("::")[0]) and PATH.fullmatch(path)]
    assert [path for path in paths if not list(ROOT.glob(path.rstrip("/")))] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_tests_that_are_named_exist(document: str) -> None:
    for path, name in TEST.findall(text_of(document)):
        found = functions_in(ROOT / path)
        assert [test for test in found if re.fullmatch(name.replace("*", ".*"), test)], f"{path}::{name}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_make_targets_that_are_named_exist(document: str) -> None:
    (line,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    commands = [command for quote in quoted(text_of(document)) for command in MAKE.findall(quote)]
    assert set(commands) - set(line.split()) == set()


def test_every_rule_of_the_store_names_a_test() -> None:
    rules = table("docs/architecture.md", "rule")
    assert [row[0] for row in rules] == [str(number) for number in range(1, 17)]
    assert [row[0] for row in rules if not TEST.search(row[2])] == []


def test_every_part_is_in_the_architecture() -> None:
    parts = {
        path.parent.relative_to(ROOT).as_posix()
        for part in ("services", "libs", "tools")
        for path in ROOT.glob(f"{part}/*/pyproject.toml")
    }
    assert parts - {quoted(row[0])[0] for row in table("docs/architecture.md", "part")} == set()


def test_the_readmes_ports_are_the_runners() -> None:
    from mailboat_local.layout import BASE_PORTS, DEFAULT_PORT_OFFSET

    numbers = section("README.md", "On one machine")
    ports = {port + DEFAULT_PORT_OFFSET for service in BASE_PORTS.values() for port in service.values()}
    missing = {port for port in ports if str(port) not in numbers and not 11101 <= port <= 11106}
    assert missing == set()


def test_every_rule_of_the_store_that_a_test_is_named_for_is_in_the_architecture() -> None:
    text = text_of("docs/architecture.md")
    named = {
        match
        for path in (ROOT / "services/storage_api/tests").glob("test_*.py")
        for name in functions_in(path)
        for match in re.findall(r"^(test_store_rule_\d\d)_", name)
    }
    assert [name for name in sorted(named) if f"{name}_*" not in text] == []
