"""The API's description (OpenAPI 3.1), served at `/v1/openapi.json`.

FastAPI derives most of it from the handlers; added here is what holds for many: the scopes of each operation from the
one table, the errors every operation may answer, the Idempotency-Key of each POST, `address` of a path, and examples
of lists. A route under `/v1/me` has the operation id of its twin with `own_` in front.
"""

from __future__ import annotations

import warnings
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from .access import TABLE, Ways
from .context import OWN
from .idempotency import STREAMED
from .problems import described

ABOUT = """\
Mail over HTTP, for operators, for other systems and for people. Every request carries `Authorization: Bearer TOKEN`;
what a token may do is said by its scopes. Times are milliseconds since the epoch. Errors are problem documents
(RFC 9457) with `type`, `title`, `status`, mostly `detail`, sometimes `code` and `errors`. A list ends when `next` is
null; otherwise ask again with `cursor` set to it.
"""

PROBLEM: dict[str, Any] = {
    "title": "Problem",
    "description": "A problem (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "description": "Why it was refused, for programs"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"pointer": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
    "examples": [
        {"type": "about:blank", "title": "Not Found", "status": 404, "detail": "No such account", "code": "not_found"}
    ],
}
ADDRESS = {
    "name": "address",
    "in": "path",
    "required": True,
    "description": "The account's address",
    "schema": {"type": "string", "maxLength": 320, "examples": ["alice@example.test"]},
}
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "A repeat with the same key within 24 hours is given the first answer and does nothing more",
    "schema": {"type": "string", "minLength": 1, "maxLength": 200},
}
METHODS = ("get", "post", "put", "patch", "delete")


def describe(app: FastAPI) -> dict[str, Any]:
    """The description, made once."""
    if app.openapi_schema is None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Duplicate Operation ID")  # twins: told apart below
            document = get_openapi(title=app.title, version=app.version, description=ABOUT, routes=app.routes)
        for path, operations in document["paths"].items():
            for method in METHODS:
                if method in operations:
                    _complete(path, method, operations[method])
        components = document.setdefault("components", {})
        components["schemas"]["Problem"] = PROBLEM
        for name in ("HTTPValidationError", "ValidationError"):
            components["schemas"].pop(name, None)
        components["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer", "description": "A token made with POST /v1/tokens"}
        }
        _example_of_pages(components["schemas"])
        app.openapi_schema = document
    return app.openapi_schema


def _complete(path: str, method: str, operation: dict[str, Any]) -> None:
    name = operation["operationId"]
    own = path == OWN or path.startswith(OWN + "/")
    access = TABLE[name]
    ways = access.own if own else access.ways
    if own and access.ways:
        operation["operationId"] = f"own_{name}"
    operation["security"] = _security(ways)
    parameters = operation.setdefault("parameters", [])
    if "{address}" in path and not any(given["name"] == "address" for given in parameters):
        parameters.insert(0, ADDRESS)
    statuses = [401, 403, 422, 500, 503]
    if method == "post" and path != STREAMED:
        parameters.append(IDEMPOTENCY_KEY)
        statuses += [400, 409]
    for status, response in described(*statuses).items():
        if status == 422 or str(status) not in operation["responses"]:
            operation["responses"][str(status)] = response
    operation["responses"] = dict(sorted(operation["responses"].items()))


def _security(ways: Ways) -> list[dict[str, list[str]]]:
    """Each way in; the scopes of one are needed together (OpenAPI 3.1 allows to name them for bearer tokens)."""
    return [{"token": list(way)} for way in ways]


def _example_of_pages(schemas: dict[str, Any]) -> None:
    """A page's example is made of its item's."""
    for name, schema in schemas.items():
        if name.startswith("Page_"):
            item = schemas[schema["properties"]["items"]["items"]["$ref"].rpartition("/")[2]]
            schema["examples"] = [{"items": item["examples"][:1], "next": None}]
