"""The admin port: `/livez`, `/readyz` and `/metrics`.

Rules: `/livez` touches nothing, so a dead dependency never makes Kubernetes kill us. `/readyz` asks the registered
checks (each returns at once from what the process already knows), and its JSON body names the failing ones. While
draining it is 503.
"""

import json
from collections.abc import Callable

from mailboat_common import metrics
from mailboat_common.asgi import AsgiServer, Receive, Scope, Send, respond
from mailboat_common.sockets import listening_socket

JSON = b"application/json"


class AdminServer:
    """Serves the admin port. Not ready until `started` is set and every check holds; never again once `draining` is."""

    def __init__(self, port: int, host: str = "") -> None:
        self.started = False
        self.draining = False
        self._checks: dict[str, Callable[[], bool]] = {}
        self._server = AsgiServer(self._app, listening_socket(host, port, "MB_ADMIN_PORT"))

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._server.port

    def add_check(self, name: str, check: Callable[[], bool]) -> None:
        """Registers a condition of readiness. `check` must be cheap and must not block."""
        self._checks[name] = check

    def failing(self) -> list[str]:
        """What keeps the process from being ready; empty: ready."""
        reasons = [name for name, check in self._checks.items() if not check()]
        if not self.started:
            reasons.append("starting")
        if self.draining:
            reasons.append("draining")
        return reasons

    async def start(self) -> None:
        """Begins to serve."""
        await self._server.start()

    async def stop(self) -> None:
        """Stops serving."""
        await self._server.stop()

    async def _app(self, scope: Scope, _receive: Receive, send: Send) -> None:
        match scope["path"]:
            case "/livez":
                await respond(send, 200, b'{"live":true}', JSON)
            case "/readyz":
                failing = self.failing()
                body = json.dumps({"ready": not failing, "failing": failing}).encode()
                await respond(send, 503 if failing else 200, body, JSON)
            case "/metrics":
                await respond(send, 200, metrics.exposition(), metrics.CONTENT_TYPE.encode())
            case _:
                await respond(send, 404, b'{"error":"not found"}', JSON)
