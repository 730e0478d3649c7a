"""The cores fuzzed by coverage, with Atheris: `python -m tests.fuzz.atheris_cores CORE [libFuzzer's options]`.

Without an argument it names the cores. An input that fails is written to a file; given as an argument it is played again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

PACKAGES = ["mailboat_wire", "mailboat_mime"]


def targets(imports: AbstractContextManager[object]) -> dict[str, Callable[[bytes], object]]:
    """The cores by name; they are imported within `imports`, where Atheris makes their branches visible."""
    with imports:
        from tests.fuzz import cores

    def stream(name: str, data: bytes) -> None:
        """The first octet says where the rest is cut."""
        cut = data[0] if data else 0
        cores.streams(name, data[1:], [data[1 : 1 + cut], data[1 + cut :]])

    found: dict[str, Callable[[bytes], object]] = {name: partial(stream, name) for name in cores.STREAMS}
    found["smtp_arguments"] = cores.smtp_arguments
    found["message"] = lambda data: cores.message(data, [data[:7], data[7:]])
    return found


def main(arguments: list[str]) -> None:
    """Fuzz one core until it fails or the options say enough."""
    if len(arguments) < 2:
        print("\n".join(targets(nullcontext())))
        return
    import atheris

    target = targets(atheris.instrument_imports(include=PACKAGES))[arguments.pop(1)]
    atheris.Setup(arguments, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
