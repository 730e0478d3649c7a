"""The REST application: routes under `/v1`, problems for errors, its description, and the gate before all of it."""

from __future__ import annotations

from fastapi import APIRouter, Depends, FastAPI
from mailboat_common.asgi import AsgiApp
from starlette.routing import Route

from . import accounts, domains, mail, mailboxes, message, messages, problems, search, tokens
from .access import TABLE
from .context import OWN, Context, authorize
from .gate import Gate

ACCOUNT = "/v1/accounts/{address:encoded}"
MOUNTS: tuple[tuple[str, APIRouter], ...] = (
    ("/v1", domains.router),
    ("/v1", accounts.router),
    (ACCOUNT, mailboxes.router),
    (OWN, mailboxes.router),
    (ACCOUNT, mail.router),
    (OWN, mail.router),
    (ACCOUNT, message.router),
    (OWN, message.router),
    (ACCOUNT, search.router),
    (OWN, search.router),
    ("/v1", tokens.router),
    ("/v1", messages.router),
)
"""Where each router's paths begin. What is under `/v1/accounts/{address}` and under `/v1/me` is one router."""


def create_app(context: Context, *, bytes_in_flight: int) -> AsgiApp:
    """The ASGI application. `bytes_in_flight`: large bodies of running requests, all together."""
    app = FastAPI(
        title="Mailboat",
        version="1",
        description="Domains, accounts, tokens, mailboxes, messages and traces of a Mailboat platform.",
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(authorize)],
    )
    app.state.context = context
    for prefix, router in MOUNTS:
        missing = {route.name for route in router.routes if isinstance(route, Route)} - TABLE.keys()
        assert not missing, f"rest/access.py says nobody may call {missing}"
        app.include_router(router, prefix=prefix)
    problems.install(app)
    return Gate(app, context.tokens, bytes_in_flight)
