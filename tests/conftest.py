"""What tests of several folders share: the running stack (see `tests/support/stack.py`)."""

from tests.support.stack import live, live_stack

__all__ = ["live", "live_stack"]
