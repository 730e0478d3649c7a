"""The REST application: routes under `/v1`, problems for errors, its description, and the gate before all of it."""

from __future__ import annotations

from fastapi import APIRouter, Depends, FastAPI
from mailboat_common.asgi import AsgiApp
from starlette.routing import Route

from . import (
    accounts,
    aliases,
    bulk,
    domain_dns,
    domains,
    events,
    mail,
    mailboxes,
    me,
    message,
    messages,
    problems,
    queue,
    restored,
    search,
    submit,
    suppressions,
    tokens,
    webhooks,
)
from .access import TABLE
from .context import OWN, Context, authorize
from .description import describe
from .gate import Gate
from .idempotency import Idempotency

ACCOUNT = "/v1/accounts/{address:encoded}"
MOUNTS: tuple[tuple[str, APIRouter], ...] = (
    ("/v1", domains.router),
    ("/v1", domain_dns.router),
    ("/v1", accounts.router),
    ("/v1", aliases.router),
    (ACCOUNT, aliases.account_router),
    (OWN, aliases.account_router),
    (ACCOUNT, mailboxes.router),
    (OWN, mailboxes.router),
    (ACCOUNT, mail.router),
    (OWN, mail.router),
    (ACCOUNT, bulk.router),
    (OWN, bulk.router),
    (ACCOUNT, message.router),
    (OWN, message.router),
    (ACCOUNT, search.router),
    (OWN, search.router),
    (ACCOUNT, submit.router),
    (OWN, submit.router),
    (OWN, me.router),
    ("/v1", queue.router),
    ("/v1", suppressions.router),
    ("/v1", events.router),
    (OWN, events.router),
    ("/v1", webhooks.router),
    ("/v1", tokens.router),
    ("/v1", restored.router),
    ("/v1", messages.router),
)
"""Where each router's paths begin. What is under `/v1/accounts/{address}` and under `/v1/me` is one router."""


def create_app(context: Context, *, bytes_in_flight: int) -> AsgiApp:
    """The ASGI application. `bytes_in_flight`: large bodies of running requests, all together."""
    routes = build()
    routes.state.context = context
    return Gate(Idempotency(routes, context.keys), context.tokens, bytes_in_flight)


def build() -> FastAPI:
    """The routes with their description."""
    app = FastAPI(
        title="Mailboat",
        version="1",
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(authorize)],
        generate_unique_id_function=lambda route: route.name,
    )
    for prefix, router in MOUNTS:
        missing = {route.name for route in router.routes if isinstance(route, Route)} - TABLE.keys()
        assert not missing, f"rest/access.py says nobody may call {missing}"
        app.include_router(router, prefix=prefix)
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]  # the documented way to extend it
    problems.install(app)
    return app
