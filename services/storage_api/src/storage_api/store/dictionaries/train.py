"""Train a dictionary: `python -m storage_api.store.dictionaries.train ID` writes `mail-ID.zdict` beside this file.

A dictionary is never changed or removed once a release contained it: bodies name theirs by id. A better one gets the
next id, and `CURRENT` in this package says which one new bodies use.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import zstandard

from .corpus import messages

SEED = 20260101
SAMPLES = 4000
SIZE = 16 * 1024


def samples() -> list[bytes | bytearray | memoryview]:
    """Header blocks and texts apart, as they are compressed."""
    out: list[bytes | bytearray | memoryview] = []
    for message in messages(SEED, SAMPLES):
        split = message.index(b"\r\n\r\n") + 4
        out += [message[:split], message[split:]]
    return out


def train(dictionary_id: int) -> bytes:
    """The dictionary's bytes."""
    return zstandard.train_dictionary(SIZE, samples(), dict_id=dictionary_id, level=3).as_bytes()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Train a dictionary for small bodies from generated mail.")
    parser.add_argument("id", type=int, help="number of the new dictionary, 1 to 32767")
    chosen: int = parser.parse_args().id
    path = Path(__file__).with_name(f"mail-{chosen}.zdict")
    if path.exists():
        parser.error(f"{path.name} exists and is never changed: take the next number")
    path.write_bytes(train(chosen))


if __name__ == "__main__":
    main()
