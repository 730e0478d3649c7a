"""The file of ``account import``: address,password,quota; a first line of titles is allowed.

The password is plain text or a hash of another system: ``$argon2id$...``, ``{BCRYPT}$2b$...``,
``{SHA512-CRYPT}$6$...`` (Dovecot's notation; the bare ``$2b$`` and ``$6$`` forms are understood too).
``{PLAIN}`` in front of a plain password that looks like a hash keeps it plain. The quota may be missing or empty.
The whole file is judged before anything is sent.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from mailboatctl.errors import WrongUse
from mailboatctl.sizes import parse_size

# What a hash begins with -> the form the API takes it in.
HASH_FORMS = {
    "$argon2id$": "$argon2id$",
    "{ARGON2ID}$argon2id$": "$argon2id$",
    "{BCRYPT}": "{BCRYPT}",
    "{SHA512-CRYPT}": "{SHA512-CRYPT}",
    "$2a$": "{BCRYPT}$2a$",
    "$2b$": "{BCRYPT}$2b$",
    "$2y$": "{BCRYPT}$2y$",
    "$6$": "{SHA512-CRYPT}$6$",
}
ARGON2ID_FORMS = ("$argon2id$", "{ARGON2ID}$argon2id$")
ARGON2ID_DOLLARS = 5
PLAIN = "{PLAIN}"
TITLES = ("address", "password", "quota")
SHOWN_FAULTS = 20


@dataclass(frozen=True, slots=True)
class Row:
    """One account of the file."""

    line: int
    address: str
    password: str = field(repr=False)
    quota_bytes: int | None = None

    def request(self) -> dict[str, Any]:
        """The account as the API takes it."""
        account: dict[str, Any] = {"address": self.address}
        form = next((form for form in HASH_FORMS if self.password.startswith(form)), None)
        if form is None:
            account["password"] = self.password.removeprefix(PLAIN)
        else:
            account["password_hash"] = HASH_FORMS[form] + self.password.removeprefix(form)
        if self.quota_bytes is not None:
            account["quota_bytes"] = self.quota_bytes
        return account


def read(lines: Iterable[str]) -> list[Row]:
    """All rows. Raises WrongUse with the file's faults by line (at most twenty); a password is never shown."""
    rows: list[Row] = []
    faults: list[str] = []
    seen: dict[str, int] = {}
    for number, fields in ((number, _whole_hash(fields)) for number, fields in _records(lines, faults)):
        values = [*fields, "", ""][:3]
        address, password, quota = values[0].strip(), values[1], values[2].strip()
        fault = _fault(fields, address, password)
        size: int | None = None
        try:
            size = parse_size(quota) if quota else None
        except ValueError as error:
            fault = fault or str(error)
        earlier = seen.setdefault(address.lower(), number)
        if not fault and earlier != number:
            fault = f"{address} is on line {earlier} already"
        if fault:
            faults.append(f"line {number}: {fault}")
        else:
            rows.append(Row(number, address, password, size))
    if faults:
        more = f"\n  and {len(faults) - SHOWN_FAULTS} more" if len(faults) > SHOWN_FAULTS else ""
        raise WrongUse("Nothing was imported:\n  " + "\n  ".join(faults[:SHOWN_FAULTS]) + more)
    return rows


def _records(lines: Iterable[str], faults: list[str]) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(lines, strict=True)
    try:
        for fields in reader:
            titles = tuple(value.strip().lower() for value in fields) == TITLES[: len(fields)]
            if fields and any(value.strip() for value in fields) and not titles:
                yield reader.line_num, fields
    except csv.Error as error:
        faults.append(f"line {reader.line_num}: not CSV: {error}")


def _whole_hash(fields: list[str]) -> list[str]:
    """An argon2id hash has commas in its parameters (m=19456,t=2,p=1), and exports rarely quote it: what the commas of
    the file have split is put together again, up to the hash's fifth dollar sign and what follows it."""
    if len(fields) < 2 or not fields[1].startswith(ARGON2ID_FORMS):
        return fields
    for end in range(2, len(fields) + 1):
        joined = ",".join(fields[1:end])
        if joined.count("$") == ARGON2ID_DOLLARS:
            return [fields[0], joined, *fields[end:]]
    return fields


def _fault(fields: list[str], address: str, password: str) -> str:
    if len(fields) not in (2, 3):
        return f"address,password,quota expected, {len(fields)} values found"
    local, at, domain = address.rpartition("@")
    if not (at and local and domain):
        return f"{address!r} is no address"
    if not password.removeprefix(PLAIN):
        return "the password is empty"
    return ""
