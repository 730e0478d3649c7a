"""Every error as `application/problem+json` (RFC 9457): type, title, status, and a detail that is a fixed text.

The text of an exception never reaches a client; what isn't expected is logged here and answered as 500.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from mailboat_common.errors import Failure, Refused, RefusedCode, Unavailable
from mailboat_common.log import get_logger
from starlette.exceptions import HTTPException

log = get_logger(__name__)

MEDIA_TYPE = "application/problem+json"

STATUSES = {
    RefusedCode.NO_MAILBOX: 404,
    RefusedCode.NO_MESSAGE: 404,
    RefusedCode.NO_ACCOUNT: 404,
    RefusedCode.NOT_FOUND: 404,
    RefusedCode.ALREADY_EXISTS: 409,
    RefusedCode.MAILBOX_EXISTS: 409,
    RefusedCode.CONFLICT: 409,
    RefusedCode.SPECIAL_USE: 409,
    RefusedCode.IN_USE: 409,
    RefusedCode.NOT_PERMITTED: 403,
    RefusedCode.TOO_BIG: 413,
    RefusedCode.OVER_QUOTA: 507,
    RefusedCode.STORAGE_FULL: 507,
}


def problem(status: int, detail: str = "", *, headers: dict[str, str] | None = None, **more: Any) -> Response:
    """One problem. `more` are members of our own: `code`, `errors`."""
    body: dict[str, Any] = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    if detail:
        body["detail"] = detail
    return JSONResponse(body | more, status, headers, media_type=MEDIA_TYPE)


def described(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Errors of an operation, for the API's description; what every operation may answer is added there."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def install(app: FastAPI) -> None:
    """Makes every error of `app` a problem."""
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(Failure, _failure)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _unexpected)


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return problem(STATUSES.get(error.code, 400), error.public, code=error.code.name.lower())


async def _failure(request: Request, error: Exception) -> Response:
    assert isinstance(error, Failure)
    return failed(request.url.path, error)


def failed(path: str, error: Failure) -> Response:
    """The answer to what we could not do; the cause goes to the log."""
    log.error("request failed", path=path, cause=error.private)
    if isinstance(error, Unavailable):
        retry = str(max(1, round(error.retry_after or 1)))
        return problem(503, "Temporarily unavailable, try again later", headers={"retry-after": retry})
    return problem(500)


async def _http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = error.detail if error.detail != HTTPStatus(error.status_code).phrase else ""
    return problem(error.status_code, detail, headers=dict(error.headers or {}))


async def _invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [
        {"pointer": "/" + "/".join(str(part) for part in item["loc"]), "detail": item["msg"]} for item in error.errors()
    ]
    return problem(422, "The request doesn't have the form it should", errors=errors)


async def _unexpected(request: Request, error: Exception) -> Response:
    log.error("request failed", path=request.url.path, exc_info=error)
    return problem(500)
