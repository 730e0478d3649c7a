"""docs/api.md against a real server: its blocks of shell are run in order, and print what stands behind them.

A block of JSON behind a block of shell holds one value after another as the shell prints them (or lines of text). An
object shows some members of the real one, which must have these values; "…" is any value. To document another task add a
section with such blocks: they run behind those above, in the same shell.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mailboat_common.asgi import AsgiServer
from mailboat_common.sockets import listening_socket
from storage_api.db.driver import connect

from tests.interop.programs import program
from tests.support.documents import ROOT
from tests.support.mongod import Mongod, mongod
from tests.support.rest import BOOTSTRAP, opened

__all__ = ["mongod"]

BLOCK = re.compile(r"^```(sh|json)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CURLRC = "silent\nshow-error\nfail-with-body\n"
ANY = "…"
SECONDS = 120


def blocks() -> list[tuple[str, str]]:
    """(shell, what it prints) in order."""
    found = BLOCK.findall((ROOT / "docs/api.md").read_text("utf-8"))
    out: list[tuple[str, str]] = []
    for kind, text in found:
        if kind == "sh":
            out.append((text, ""))
        else:
            assert out and not out[-1][1], f"no shell before {text}"
            out[-1] = out[-1][0], text
    return out


def values(text: str) -> list[Any]:
    """JSON values and lines of other text, one after another."""
    decoder, out = json.JSONDecoder(), []
    while text := text.lstrip():
        try:
            value, end = decoder.raw_decode(text)
        except ValueError:
            value, end = text.partition("\n")[0].rstrip(), len(text.partition("\n")[0])
        out.append(value)
        text = text[end:]
    return out


def shows(real: Any, shown: Any) -> bool:
    """Whether what is shown is true of the real value."""
    if shown == ANY:
        return real is not None
    if isinstance(shown, dict):
        return isinstance(real, dict) and all(name in real and shows(real[name], shown[name]) for name in shown)
    if isinstance(shown, list):
        return isinstance(real, list) and len(real) == len(shown) and all(map(shows, real, shown))
    return type(real) is type(shown) and real == shown


def outputs(directory: Path) -> list[str]:
    """What each block printed that was begun."""
    return [(directory / f"out.{number}").read_text("utf-8") for number in range(len(list(directory.glob("out.*"))))]


@pytest.fixture
async def server(mongod: Mongod, tmp_path: Path) -> AsyncIterator[str]:
    """The address of a server with a database of its own."""
    db = connect(mongod.uri, app="test", database="api_doc")
    async with opened(mongod, db.name, tmp_path) as world:
        listening = listening_socket("127.0.0.1", 0, "MB_REST_PORT")
        served = AsgiServer(world.api.rest, listening)
        await served.start()
        traces = asyncio.create_task(world.core.trace.run())
        yield f"http://127.0.0.1:{served.port}"
        traces.cancel()
        await served.stop()
    await db.close()


async def test_the_examples_do_what_they_say(server: str, tmp_path: Path) -> None:
    programs = [program(name) for name in ("curl", "jq")]
    (tmp_path / ".curlrc").write_text(CURLRC)
    script = "set -euo pipefail\n" + "".join(
        f"{{\n{shell}}} > out.{number}\n" for number, (shell, _) in enumerate(blocks())
    )
    bash = shutil.which("bash")
    assert bash is not None
    path = ":".join({str(Path(name).parent) for name in programs} | {"/usr/bin", "/bin"})
    running = await asyncio.create_subprocess_exec(
        bash,
        "-c",
        script,
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PATH": path, "API": server, "TOKEN": BOOTSTRAP},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(SECONDS):
        said = (await running.communicate())[0].decode()
    printed = outputs(tmp_path)
    assert running.returncode == 0, f"{said}\n{blocks()[len(printed) - 1][0]}\n{printed[-1]}"
    for (shell, expected), text in zip(blocks(), printed, strict=True):
        real, shown = values(text), values(expected)
        assert len(real) == len(shown), f"{shell}\n{text}"
        assert [pair for pair in zip(real, shown, strict=True) if not shows(*pair)] == [], shell


def test_every_operation_of_mail_has_an_example() -> None:
    text = "\n".join(shell for shell, _ in blocks())
    for task in ("/submit", "/submit/raw", "/raw", "/parts/", "/move", "/copy", "/trace/", "/audit", "/me/password"):
        assert task in text


def test_the_comparison_sees_differences() -> None:
    assert values('{"a": 1}\n204\ntext here\n[2]') == [{"a": 1}, 204, "text here", [2]]
    assert shows({"a": 1, "b": 2}, {"a": ANY})
    for real, shown in (
        ({"a": 1}, {"b": ANY}),
        ({"a": None}, {"a": ANY}),
        ([1, 2], [1]),
        (1, True),
        ({"a": 1}, {"a": "1"}),
    ):
        assert not shows(real, shown)
