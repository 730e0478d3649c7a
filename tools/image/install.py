"""Installs one service into an environment of its own, for a container image: `install.py SERVICE TARGET`.

Run by the Dockerfile, from the repository's root, with the standard library and pip alone. Our distributions are built
as wheels; what they need from elsewhere is exactly the part of requirements.txt that the service leads to, in the
pinned versions and checked against the pinned hashes.

The environment has no pip and is never written to again: the root may be read-only. It is kept small: no debug
information in the wheels' libraries (uvloop: 13.6 MB with, 1.6 MB without), and compiled bytecode only for the modules
that a start imports, those of Python itself included (the official slim image has none, and nothing could keep it at
run time). Each command is started once for that, without settings, which it must refuse: a broken environment fails
here.
"""

import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

SERVICES = {
    "smtp_ingress": ["mailboat-smtp-ingress"],
    "imap_gateway": ["mailboat-imap-gateway"],
    "pop3_gateway": ["mailboat-pop3-gateway"],
    # The operators' command line is where the API is: kubectl exec reaches it, and the chart's test runs it.
    "storage_api": ["mailboat-storage-api", "mailboat-ctl"],
    "delivery_worker": ["mailboat-delivery-worker"],
}
# What each distribution brings to type, and what a start without settings says before it ends with status 2.
COMMANDS = {
    "mailboat-replica-set": "MB_MEMBER_HOST: must be set",
    "mailboatctl": "No such command",
}
SERVICE_REFUSES = "MB_INTERNAL_TOKEN_FILE: must be set"
SOURCES = (".pyi", ".pyx", ".pxd", ".c", ".h")
LOAD = 1  # ELF: a segment that is mapped into memory
PINNED = re.compile(r"^([\w.-]+)==(\S+) \\\n(?:    --hash=.*\n)+", re.MULTILINE)


def run(*command: str | Path) -> None:
    """A command that must succeed; its words are the build's."""
    subprocess.run(command, check=True)


def canonical(name: str) -> str:
    """A distribution's name as it is compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(text: str) -> dict[str, tuple[str, str]]:
    """Name → (version, the lines of requirements.txt with its hashes)."""
    return {canonical(found[1]): (found[2], found[0]) for found in PINNED.finditer(text)}


def build_wheels(work: Path) -> tuple[Path, Path]:
    """The builder's pip and the directory with the wheels of all our distributions but the tools for development."""
    venv.create(work / "build", with_pip=True)
    pip = work / "build" / "bin" / "pip"
    run(pip, "install", "--quiet", "--require-hashes", "-r", "requirements-build.txt")
    projects = [path.parent for path in sorted(Path().glob("[lst]*/*/pyproject.toml"))]
    wheels = work / "wheels"
    built = ("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels))
    run(pip, *built, *(f"./{project}" for project in projects))
    return pip, wheels


def needed(pip: Path, wheels: Path, work: Path, roots: list[str], pinned: dict[str, tuple[str, str]]) -> list[str]:
    """Names of all third-party distributions that the roots lead to, as pip resolves them within the pins."""
    constraints = work / "constraints.txt"
    constraints.write_text("".join(f"{name}=={version}\n" for name, (version, _) in pinned.items()))
    report = work / "report.json"
    asked = ("install", "--quiet", "--dry-run", "--ignore-installed", "--only-binary", ":all:")
    within = ("--find-links", str(wheels), "--constraint", str(constraints), "--report", str(report))
    run(pip, *asked, *within, *roots)
    names = {canonical(item["metadata"]["name"]) for item in json.loads(report.read_text())["install"]}
    return sorted(name for name in names if not name.startswith("mailboat-"))


def prune(target: Path) -> None:
    """Takes away what never runs."""
    for library in target.rglob("*.so"):
        strip(library)
    (packages,) = target.glob("lib/python3*/site-packages")
    unused = [path for path in packages.rglob("*") if path.suffix in SOURCES]  # of compiled modules, and stubs
    unused += packages.glob("zstandard/_cffi.*")  # its implementation for PyPy
    for path in unused:
        path.unlink()
    for name in ("*/tests", "pygments/lexers/*.py", "pygments/styles/*.py"):
        for path in packages.glob(name):
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name not in ("__init__.py", "_mapping.py"):
                path.unlink()  # rich could colour source code in 600 languages; nobody shows any here


def strip(library: Path) -> None:
    """Ends a 64-bit ELF file behind its last mapped segment: the rest is for debuggers and linkers (ELF-64 2, 4)."""
    data = library.read_bytes()
    if data[:6] != b"\x7fELF\x02\x01" or library.is_symlink():
        return
    first, size, count = struct.unpack_from("<Q", data, 32)[0], *struct.unpack_from("<HH", data, 54)
    end = first + size * count
    for at in range(first, end, size):
        kind, _flags, offset, _address, _physical, length = struct.unpack_from("<IIQQQQ", data, at)
        if kind == LOAD:
            end = max(end, offset + length)
    # No section headers any more: their offset (40), and their size, number and names' index (58).
    head = data[:40] + bytes(8) + data[48:58] + bytes(6)
    library.write_bytes(head + data[64:end])


def start_once(target: Path, command: str, expected: str, *arguments: str) -> None:
    """Starts a command without settings: it must refuse to run, and leaves the bytecode of what it imported."""
    environment = {"PYTHONPYCACHEPREFIX": str(target / "pycache"), "PATH": os.environ["PATH"]}
    path = target / "bin" / command
    done = subprocess.run((path, *arguments), env=environment, cwd="/", capture_output=True, text=True, check=False)
    if done.returncode != 2 or expected not in done.stderr:
        sys.exit(f"{command} does not work: status {done.returncode}\n{done.stdout}{done.stderr}")


def main(service: str, target: Path) -> None:
    """Everything; the environment's `bin/mailboat-service` is the service's command."""
    if service not in SERVICES:
        sys.exit(f"SERVICE must be one of {', '.join(SERVICES)}, not {service!r}")
    roots = SERVICES[service]
    pinned = pins(Path("requirements.txt").read_text())
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        pip, wheels = build_wheels(work)
        names = needed(pip, wheels, work, roots, pinned)
        chosen = work / "chosen.txt"
        chosen.write_text("".join(pinned[name][1] for name in names))
        venv.create(target, with_pip=False, symlinks=True)
        into = (
            pip,
            "--python",
            target / "bin" / "python",
            "install",
            "--quiet",
            "--no-compile",
            "--only-binary",
            ":all:",
        )
        run(*into, "--no-deps", "--require-hashes", "-r", chosen)
        run(*into, "--no-index", "--find-links", wheels, *roots)
    (target / "bin" / "mailboat-service").symlink_to(roots[0])
    prune(target)
    start_once(target, "mailboat-service", SERVICE_REFUSES)
    for command, expected in COMMANDS.items():
        if (target / "bin" / command).exists():
            start_once(target, command, expected, "nothing")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
