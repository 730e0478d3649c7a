"""A service's first instant: a signal that ends it is obeyed before the service is imported.

In a container the service is process 1, and the kernel drops SIGTERM and SIGINT for process 1 unless it has a handler.
Importing a service takes about a second; a pod that is deleted in that second would live until SIGKILL at the end of
its grace period. So each command begins here:

    def main() -> None:
        launch("imap_gateway.main")

Rules: this module and the package's `__init__` import nothing but what an interpreter has loaded anyway (what is left
unguarded is the interpreter's own start, some 20 ms). The handler stays until `lifecycle` puts its own in its place.
The status is 0, as after a drain: nothing was begun, so nothing failed, and Kubernetes would show any other as an
error.
"""

import importlib
import os
import signal
from types import FrameType


def launch(module: str) -> None:
    """Imports `module` and calls its `main()`; SIGTERM and SIGINT end the process at once with status 0 meanwhile."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    importlib.import_module(module).main()


def _end(_number: int, _frame: FrameType | None) -> None:
    # An exception could be caught by whatever is being imported; there is nothing to clean up.
    os._exit(0)
