"""What happens at an armed crash point: the process dies as by power loss, or freezes.

`MB_CRASH_POINT=name` kills at the first passage, `name:3` at the third, `name:3:stop` stops the process there
(SIGSTOP), so that a test can look at the half-done state and then kill or continue it. Installed in test environments
only.
"""

import os
import signal
from collections.abc import Callable


def make_hook(spec: str) -> Callable[[str], None]:
    """The hook for `name[:nth[:stop]]`. Raises ValueError when `spec` is anything else."""
    name, _, rest = spec.partition(":")
    nth, _, action = rest.partition(":")
    if not name or (nth and not nth.isdigit()) or nth == "0" or action not in ("", "stop"):
        raise ValueError(f"expected name[:nth[:stop]], got {spec!r}")
    left = int(nth or 1)
    number = signal.SIGSTOP if action else signal.SIGKILL

    def hook(passed: str) -> None:
        nonlocal left
        if passed != name:
            return
        left -= 1
        if left == 0:
            os.kill(os.getpid(), number)

    return hook
