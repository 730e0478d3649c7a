"""The REST application: routes under `/v1`, problems for errors, and a bound on what a request may hold."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI
from mailboat_common.asgi import AsgiApp, Receive, Scope, Send

from . import accounts, domains, messages, problems, tokens
from .context import Context

MAX_REQUEST = 4 << 20
ROUTERS: tuple[APIRouter, ...] = (domains.router, accounts.router, tokens.router, messages.router)


def create_app(context: Context) -> AsgiApp:
    """The ASGI application."""
    app = FastAPI(
        title="Mailboat",
        version="1",
        description="Domains, accounts, tokens, messages and traces of a Mailboat platform.",
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.state.context = context
    for router in ROUTERS:
        app.include_router(router, prefix="/v1")
    problems.install(app)
    return _Bounded(app)


class _Bounded:
    """Refuses a request whose body is over the bound, announced or not."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not length.isdigit() or int(length) > MAX_REQUEST:
            await problems.problem(413, "The request is too large")(scope, receive, send)
            return
        received = 0

        async def bounded() -> Scope:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_REQUEST:  # chunked and endless: nobody listens to an answer
                return {"type": "http.disconnect"}
            return message

        await self.app(scope, bounded, send)
