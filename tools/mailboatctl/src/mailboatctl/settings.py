"""Where the API is and the token for it: ``MB_API_URL`` and ``MB_API_TOKEN``, from the environment or a file.

The file is ``.local/credentials.env`` below the current directory, which the one-machine stack writes. In the
environment ``MB_API_TOKEN_FILE`` may name a file that holds just the token, as Kubernetes mounts a secret. A token
never comes as an argument: arguments are visible to every user of the machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mailboatctl.errors import WrongUse

CREDENTIALS = Path(".local/credentials.env")


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """The API's address without a slash at its end, and a bearer token."""

    url: str
    token: str = field(repr=False)


def load(environ: Mapping[str, str], directory: Path) -> ApiSettings:
    """The environment wins over the file, name by name. Raises WrongUse."""
    values = _read(directory / CREDENTIALS) | _token_file(environ) | {k: v for k, v in environ.items() if v}
    url, token = values.get("MB_API_URL", ""), values.get("MB_API_TOKEN", "")
    if not url or not token:
        raise WrongUse(
            "Which API, with which token? Set MB_API_URL and MB_API_TOKEN (or MB_API_TOKEN_FILE), or go to a directory "
            f"whose {CREDENTIALS} says so (make up writes it)."
        )
    if not url.startswith(("http://", "https://")):
        raise WrongUse(f"MB_API_URL must begin with http:// or https://, not {url!r}.")
    if not _is_token(token):
        raise WrongUse("MB_API_TOKEN is not a token.")
    return ApiSettings(url.rstrip("/"), token)


def _token_file(environ: Mapping[str, str]) -> dict[str, str]:
    """The token of the file that the environment names, unless it has the token itself."""
    path = environ.get("MB_API_TOKEN_FILE", "")
    if not path or environ.get("MB_API_TOKEN"):
        return {}
    try:
        token = Path(path).read_bytes().decode(errors="replace").strip()
    except OSError as error:
        raise WrongUse(f"MB_API_TOKEN_FILE: {path} cannot be read: {error.strerror}.") from error
    if not _is_token(token):
        raise WrongUse(f"MB_API_TOKEN_FILE: {path} does not hold a token, and nothing else, on one line.")
    return {"MB_API_TOKEN": token}


def _is_token(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable() and " " not in text


def _read(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise WrongUse(f"{path} cannot be read: {error.strerror}") from error
    return dict(line.strip().split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
