"""The store's edge: a driver's error becomes `Unavailable`, and nothing else of the driver gets out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from mailboat_common.errors import Unavailable

from ..db.driver import PyMongoError

P = ParamSpec("P")
T = TypeVar("T")


def guarded(call: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """For a port's coroutine methods."""

    @wraps(call)
    async def inner(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await call(*args, **kwargs)
        except PyMongoError as error:
            raise Unavailable(f"MongoDB: {error!r}") from error

    return inner


def guarded_stream(call: Callable[P, AsyncIterator[T]]) -> Callable[P, AsyncIterator[T]]:
    """For a port's asynchronous generators."""

    @wraps(call)
    async def inner(*args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        try:
            async for item in call(*args, **kwargs):
                yield item
        except PyMongoError as error:
            raise Unavailable(f"MongoDB: {error!r}") from error

    return inner
