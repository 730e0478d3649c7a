"""What every command starts with: the client of this terminal's environment, and secrets read from stdin."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import typer

from mailboatctl import settings
from mailboatctl.client import Client
from mailboatctl.errors import WrongUse


def connect() -> Client:
    """A client for the API this environment names. Raises WrongUse."""
    return Client(api_settings())


def api_settings() -> settings.ApiSettings:
    """Which API this environment names, and the token. Raises WrongUse."""
    return settings.load(os.environ, Path.cwd())


def read_password(from_stdin: bool) -> str:
    """One line of stdin, or asked twice on a terminal. Raises WrongUse."""
    if from_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    elif sys.stdin.isatty():
        password = str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    else:
        raise WrongUse("Pass the password with --password-stdin; as an argument every user could see it.")
    if not password:
        raise WrongUse("The password is empty.")
    return password
