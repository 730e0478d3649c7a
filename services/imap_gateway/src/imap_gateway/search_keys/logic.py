"""AND, OR, NOT: cheap keys first, dear ones only of what is left."""

from __future__ import annotations

from mailboat_wire.imap import types as t

from .base import Key, Mask, Search, either, without


async def _and(search: Search, key: t.SearchAnd, candidates: Mask) -> Mask:
    for each in sorted(key.keys, key=search.cost):
        if not any(candidates):
            break
        candidates = await search.evaluate(each, candidates)
    return candidates


async def _or(search: Search, key: t.SearchOr, candidates: Mask) -> Mask:
    first, second = sorted((key.left, key.right), key=search.cost)
    found = await search.evaluate(first, candidates)
    return either(found, await search.evaluate(second, without(candidates, found)))


async def _not(search: Search, key: t.SearchNot, candidates: Mask) -> Mask:
    return without(candidates, await search.evaluate(key.key, candidates))


AND = Key(_and, lambda search, key: max(map(search.cost, key.keys), default=0))
OR = Key(_or, lambda search, key: max(search.cost(key.left), search.cost(key.right)))
NOT = Key(_not, lambda search, key: search.cost(key.key))
