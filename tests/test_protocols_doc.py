"""docs/protocols.md is true: its files exist, and nothing is cited or announced to clients that it doesn't list."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pop3_gateway.main
import pytest
import smtp_ingress.main
from imap_gateway.capabilities import capabilities
from imap_gateway.commands import load, registry
from imap_gateway.states import State
from mailboat_common.server import TlsMode
from mailboat_store_client.capabilities import MASKABLE
from pop3_gateway.commands import COMMANDS as POP3_COMMANDS
from pop3_gateway.commands.capa import CAPABILITIES
from smtp_ingress.commands import COMMANDS as SMTP_COMMANDS
from smtp_ingress.commands import ehlo_keywords

from tests.support.documents import ROOT, quoted, section, table

DOCUMENT = "docs/protocols.md"
RFC = re.compile(r"\bRFCs? ?(\d{3,5})\b")
ENTRY_POINTS = (load, pop3_gateway.main, smtp_ingress.main)  # imported, so that every command is registered

ROWS = table(DOCUMENT, "RFC")
LISTED = {int(row[0]) for row in ROWS}


def cited() -> dict[int, str]:
    """Every RFC number in the sources, with one file that cites it."""
    found: dict[int, str] = {}
    for part in ("services", "libs"):
        for path in sorted((ROOT / part).glob("*/src/**/*.py")):
            for number in RFC.findall(path.read_text("utf-8")):
                found.setdefault(int(number), str(path.relative_to(ROOT)))
    return found


def announced_by_imap() -> set[str]:
    """The capabilities of every state a session can be in."""
    found: set[str] = set()
    for state, tls, can_start, required, compress in itertools.product(
        (State.NOT_AUTHENTICATED, State.AUTHENTICATED, State.SELECTED), (None, "TLSv1.3"), *[(True, False)] * 3
    ):
        policy = SimpleNamespace(auth_require_tls=required, message_limit=1, compress=compress)
        session: Any = SimpleNamespace(
            state=state,
            masked=frozenset(),
            link=SimpleNamespace(tls_version=tls, can_start_tls=can_start, compressed=False),
            gateway=SimpleNamespace(policy=policy),
        )
        found |= {re.sub(r"=\d+$", "=N", name.decode()) for name in capabilities(session)}
    return found


def announced_by_smtp() -> set[str]:
    """The EHLO keywords of every port, before and after TLS."""
    found: set[str] = set()
    for submission, tls, mode, required in itertools.product(
        (True, False), ("", "TLSv1.3 X"), (TlsMode.STARTTLS, TlsMode.IMPLICIT), (True, False)
    ):
        settings = SimpleNamespace(message_size_limit=1, auth_require_tls=required)
        session: Any = SimpleNamespace(
            submission=submission,
            tls=tls,
            peer=SimpleNamespace(listener=SimpleNamespace(tls=mode)),
            service=SimpleNamespace(settings=settings),
        )
        found |= {line.split()[0] for line in ehlo_keywords(session)}
    return found


def documented(title: str) -> set[str]:
    """The names of a section's table of capabilities; the RFC beside each has a row."""
    rows = re.findall(r"^\| `([^`]+)` \| (\d+) \|", section(DOCUMENT, title), re.MULTILINE)
    assert {int(number) for _, number in rows} <= LISTED
    return {name for name, _ in rows}


def test_rows_are_whole() -> None:
    assert [number for number, count in Counter(row[0] for row in ROWS).items() if count > 1] == []
    for number, what, state, note, where in ROWS:
        assert what, number
        assert state in ("yes", "part", "no"), number
        assert note or state != "part", f"RFC {number}: say which part"
        assert bool(where) == (state != "no"), f"RFC {number}: files for what is there, none for what isn't"


def test_every_file_named_exists() -> None:
    named = {path for row in ROWS for path in quoted(row[4])}
    assert [path for path in sorted(named) if not (ROOT / path).is_file()] == []


def test_every_rfc_cited_in_the_sources_has_a_row_that_says_so() -> None:
    there = {int(row[0]) for row in ROWS if row[2] != "no"}
    assert {number: path for number, path in cited().items() if number not in there} == {}


@pytest.mark.parametrize(
    ("title", "announced"),
    [
        ("IMAP capabilities", announced_by_imap()),
        ("EHLO keywords", announced_by_smtp()),
        ("POP3 capabilities", {capability.name.decode() for capability in CAPABILITIES}),
    ],
)
def test_what_clients_are_told_is_listed_and_the_other_way_round(title: str, announced: set[str]) -> None:
    assert documented(title) == announced


@pytest.mark.parametrize(
    ("protocol", "names"),
    [
        ("IMAP", {entry.name for entry in registry.entries()}),
        ("SMTP", set(SMTP_COMMANDS)),
        ("POP3", set(POP3_COMMANDS)),
    ],
)
def test_commands_are_listed_and_the_other_way_round(protocol: str, names: set[bytes]) -> None:
    (words,) = [quoted(row[1]) for row in table(DOCUMENT, "protocol") if row[0] == protocol]
    assert sorted(words) == sorted(name.decode() for name in names)


def test_every_capability_can_be_hidden_from_an_account_but_what_is_said_before_anyone_logs_in() -> None:
    before_login = {"IMAP4rev1", "SASL-IR", "STARTTLS", "LOGINDISABLED", "AUTH=PLAIN"}
    announced = {name.removesuffix("=N") for name in announced_by_imap()}
    assert announced - set(MASKABLE) == before_login
