"""Named crash points: places where a test build can kill or stop the process, and no other build can.

`point("deliver.after-commit")` costs one comparison. It acts only if the distribution `mailboat-crashpoints` is
installed (no image contains it) and `MB_CRASH_POINT=name[:nth[:stop]]` is set. Where that distribution is absent,
`MB_CRASH_POINT` is an unknown setting and the service refuses to start.
"""

from collections.abc import Callable
from importlib import metadata

SETTING = "MB_CRASH_POINT"
DISTRIBUTION = "mailboat-crashpoints"

_hook: Callable[[str], None] | None = None


def point(name: str) -> None:
    """A place worth dying at. Names are `<operation>.<moment>`: `commit.before`, `expunge.after-commit`."""
    if _hook is not None:
        _hook(name)


def available() -> bool:
    """Whether this is a test build."""
    try:
        metadata.distribution(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return False
    return True


def arm(spec: str) -> None:
    """Installs the test build's hook for `spec` (`name[:nth[:stop]]`). Raises ValueError when it doesn't parse."""
    global _hook  # noqa: PLW0603 - one process, one hook
    (entry,) = metadata.distribution(DISTRIBUTION).entry_points.select(group="mailboat.crashpoints", name="make_hook")
    _hook = entry.load()(spec)


def disarm() -> None:
    """Takes the hook away again."""
    global _hook  # noqa: PLW0603
    _hook = None
