"""The Dockerfile's rules, and what the image's installer does: pins, and libraries without debug information.

Building takes a builder and a base image: `make images`, and tests/e2e runs what was built.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.documents import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")


@pytest.fixture(scope="module")
def installer() -> ModuleType:
    """tools/image/install.py, which is a program and in no package."""
    spec = importlib.util.spec_from_file_location("image_install", ROOT / "tools/image/install.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def instructions() -> list[list[str]]:
    joined = re.sub(r"\\\n\s*", "", DOCKERFILE)
    return [line.split(maxsplit=1) for line in joined.splitlines() if line and not line.startswith("#")]


def test_any_builder_can_build_it() -> None:
    """No syntax line (it would fetch a frontend), nothing from an image but the base, the base an argument."""
    assert "syntax" not in DOCKERFILE.splitlines()[0]
    assert [words[1] for words in instructions() if words[0] == "FROM"] == ["${BASE_IMAGE} AS build", "${BASE_IMAGE}"]
    assert re.findall(r"--from=(\S+)", DOCKERFILE) == ["build"]
    assert "ADD" not in [words[0] for words in instructions()]
    assert "ARG BASE_IMAGE=python:3.11-slim" in DOCKERFILE
    assert "--mount" not in DOCKERFILE


def test_it_runs_as_a_numeric_user_and_as_pid_1() -> None:
    """The last stage: a number, so that Kubernetes can see that it isn't root, and no shell in front of the service."""
    last = instructions()[-1]
    assert last[0] == "ENTRYPOINT"
    assert last[1].startswith('["/opt/mailboat/bin/')
    (user,) = [words[1] for words in instructions() if words[0] == "USER"]
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user)


def test_the_context_holds_what_is_copied_and_little_else() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line]
    assert lines[0] == "*"
    allowed = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copied = {
        word
        for words in instructions()
        if words[0] == "COPY" and "--from" not in words[1]
        for word in words[1].split()[:-1]
    }
    assert copied == allowed


def test_every_service_has_an_image(installer: ModuleType) -> None:
    services = {path.parent.name for path in ROOT.glob("services/*/pyproject.toml")}
    assert set(installer.SERVICES) == services
    script = (ROOT / "tools/scripts/images").read_text()
    (listed,) = re.findall(r"^services=\((.*)\)$", script, re.MULTILINE)
    assert set(listed.split()) == services


def test_all_pins_are_found_with_their_hashes(installer: ModuleType) -> None:
    text = (ROOT / "requirements.txt").read_text()
    pins = installer.pins(text)
    assert len(pins) == len(re.findall(r"^\S+==", text, re.MULTILINE)) > 30
    for version, lines in pins.values():
        assert f"=={version} \\" in lines
        assert "--hash=sha256:" in lines


def test_a_stripped_library_still_loads(installer: ModuleType, tmp_path: Path) -> None:
    """A real extension module, from which the debug information is cut, works and is a good deal smaller."""
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    import zstandard

    whole = Path(zstandard.__file__).parent / f"backend_c{suffix}"
    package = tmp_path / "zstandard"
    package.mkdir()
    copy = package / whole.name
    copy.write_bytes(whole.read_bytes())
    for source in whole.parent.glob("*.py"):
        (package / source.name).write_bytes(source.read_bytes())
    installer.strip(copy)
    assert copy.stat().st_size < whole.stat().st_size
    code = "import zstandard as z; assert z.backend == 'cext'; print(z.decompress(z.compress(b'boat' * 1000)) == b'boat' * 1000, z.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("True " + str(tmp_path)), done.stderr


def test_what_is_no_library_stays_as_it_is(installer: ModuleType, tmp_path: Path) -> None:
    for content in (b"", b"\x7fELF", b"/* a linker script */ GROUP ( libx.so )"):
        path = tmp_path / "text.so"
        path.write_bytes(content)
        installer.strip(path)
        assert path.read_bytes() == content


def test_a_service_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "tools/image/install.py", "mail_ingress", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "SERVICE must be one of smtp_ingress" in done.stderr


def test_images_says_what_it_needs(tmp_path: Path) -> None:
    """Without a builder: one line that names those that would do."""
    shell = {"PATH": str(tmp_path)}
    for name in ("sed", "dirname", "bash"):
        (tmp_path / name).symlink_to(Path("/usr/bin") / name)
    script = [str(tmp_path / "bash"), "tools/scripts/images"]
    done = subprocess.run(script, cwd=ROOT, env=shell, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        1,
        "images: docker (with its daemon running), podman or buildah is needed, and none is here.\n",
    )
    done = subprocess.run(
        script, cwd=ROOT, env=shell | {"BUILDER": "kaniko"}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, "BUILDER must be docker, podman or buildah" in done.stderr) == (1, True)
