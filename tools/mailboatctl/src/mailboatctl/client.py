"""The REST API as one small class: JSON in and out, refusals and failures told apart, lists followed page by page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Self
from urllib.parse import quote, urlsplit

import httpx

from mailboatctl.errors import ApiRefused, Unreachable
from mailboatctl.settings import ApiSettings

# A batch of accounts with plain passwords keeps the server hashing for a while; an audit may be silent for minutes.
TIMEOUT = httpx.Timeout(120.0, connect=10.0)
STREAM_TIMEOUT = httpx.Timeout(1800.0, connect=10.0)


class Client:
    """A connection to the API."""

    def __init__(self, settings: ApiSettings, transport: httpx.BaseTransport | None = None) -> None:
        self._host = urlsplit(settings.url).netloc
        self._http = httpx.Client(
            base_url=settings.url,
            headers={"Authorization": f"Bearer {settings.token}", "Accept": "application/json"},
            timeout=TIMEOUT,
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def call(self, method: str, path: str, body: object = None, query: dict[str, str] | None = None) -> Any:
        """The answer's JSON (None if it is empty). Raises ApiRefused (4xx) or Unreachable."""
        try:
            answer = self._http.request(method, path, json=body, params=query)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        self._check(answer)
        return self._json(answer.content) if answer.content else None

    def send(self, method: str, path: str, body: bytes, media_type: str) -> Any:
        """As `call`, with a body that isn't JSON."""
        try:
            answer = self._http.request(method, path, content=body, headers={"Content-Type": media_type})
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        self._check(answer)
        return self._json(answer.content)

    def raw(self, path: str) -> bytes:
        """The bytes of an answer that isn't JSON."""
        try:
            answer = self._http.get(path, headers={"Accept": "*/*"})
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        self._check(answer)
        return answer.content

    def items(self, path: str, query: dict[str, str] | None = None) -> Iterator[dict[str, Any]]:
        """All items of a list, page after page."""
        cursor: str | None = None
        while True:
            page = self.call("GET", path, query=(query or {}) | ({"cursor": cursor} if cursor else {}))
            yield from page["items"]
            cursor = page.get("next")
            if not cursor:
                return

    def lines(self, method: str, path: str, body: object = None) -> Iterator[dict[str, Any]]:
        """A stream of JSON documents, one a line."""
        try:
            with self._http.stream(method, path, json=body, timeout=STREAM_TIMEOUT) as answer:
                if answer.is_error:
                    answer.read()
                self._check(answer)
                for line in answer.iter_lines():
                    if line.strip():
                        yield self._json(line)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def _check(self, answer: httpx.Response) -> None:
        if answer.is_success:
            return
        text = _problem(answer)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            raise ApiRefused(answer.status_code, f"{text} Is MB_API_TOKEN a valid token of {self._host}?")
        if answer.is_client_error:
            raise ApiRefused(answer.status_code, text)
        raise Unreachable(f"The API at {self._host} has failed: {text}")

    def _json(self, text: str | bytes) -> Any:
        try:
            return json.loads(text)
        except ValueError as error:
            raise Unreachable(f"What answers at {self._host} is not Mailboat's API.") from error

    def _unreachable(self, error: httpx.HTTPError) -> Unreachable:
        what = "did not answer in time" if isinstance(error, httpx.TimeoutException) else f"is not reachable: {error}"
        return Unreachable(f"The API at {self._host} {what}")


def segment(text: str) -> str:
    """A value as one segment of a path; "/" is written %2F."""
    return quote(text, safe="@")


def _problem(answer: httpx.Response) -> str:
    """The text of a problem document (RFC 9457 3.1), or the status line where there is none."""
    try:
        problem = answer.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        return f"{answer.status_code} {answer.reason_phrase}."
    text = str(problem.get("detail") or problem.get("title") or "")
    members = [f"{item.get('pointer')} {item.get('detail')}" for item in problem.get("errors") or []]
    text = "; ".join([text or f"{answer.status_code} {answer.reason_phrase}", *members])
    return text.rstrip(".") + "."
