"""The programs of single tests, installed when the first of these asks for one (see `programs.py`)."""

from __future__ import annotations

import pytest

from tests.interop.programs import program


@pytest.fixture(scope="session")
def curl() -> str:
    """curl, with imaps, pop3s and smtp."""
    return program("curl")


@pytest.fixture(scope="session")
def mbsync() -> str:
    """mbsync of the package isync."""
    return program("mbsync")


@pytest.fixture(scope="session")
def offlineimap() -> str:
    """offlineimap of the package offlineimap3."""
    return program("offlineimap")


@pytest.fixture(scope="session")
def fetchmail() -> str:
    return program("fetchmail")


@pytest.fixture(scope="session")
def getmail() -> str:
    """getmail of the package getmail6."""
    return program("getmail")


@pytest.fixture(scope="session")
def mutt() -> str:
    return program("mutt")
