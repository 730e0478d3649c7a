"""Clients that are not ours: the programs are installed if they are missing, as the stack's servers are."""

from __future__ import annotations

import shutil

import pytest
from mailboat_local import apt
from mailboat_local.layout import StackError


def program(name: str, package: str) -> str:
    """The path of a program, installed if it isn't there. Fails the test, with what helps, when that can't be done."""
    found = shutil.which(name)
    if found is None:
        try:
            apt.install([package], why="a mail client that the tests use")
        except StackError as error:
            pytest.fail(str(error), pytrace=False)
        found = shutil.which(name)
    assert found is not None, f"{package} is installed and brings no {name}"
    return found


@pytest.fixture(scope="session")
def curl() -> str:
    """curl, with imaps, pop3s and smtp."""
    return program("curl", "curl")


@pytest.fixture(scope="session")
def mbsync() -> str:
    """mbsync of the package isync."""
    return program("mbsync", "isync")
