"""SEARCH and UID SEARCH: RFC 9051 6.4.4, RFC 4731 (RETURN), RFC 5182 (SAVE)."""

from __future__ import annotations

from collections.abc import Sequence

from mailboat_wire.imap import response
from mailboat_wire.imap import types as t
from mailboat_wire.imap.sequence import runs

from ..features import UTF8, enable_condstore
from ..replies import Answer, Reply, bad, ok
from ..search import Result, keys
from ..search import search as find
from ..session import Session
from ..states import State
from .registry import Expunge, command

_SHORT = t.SearchReturn.MIN | t.SearchReturn.MAX


@command(
    t.Search,
    State.SELECTED,
    expunge=Expunge.WITH_UID,
    capabilities=(b"ESEARCH", b"SEARCHRES", b"WITHIN"),
)
async def search(session: Session, command_: t.Search) -> Reply:
    """RFC 9051 6.4.4; the RFC 3501 answer unless RETURN was given."""
    if command_.charset is not None and UTF8 in session.enabled:
        raise bad(b"Strings are UTF-8 here")  # RFC 6855 3
    selected = session.mailbox
    returns = command_.returns
    if returns is None and session.rev2:
        returns = t.SearchReturn.ALL  # RFC 9051 6.4.4, Appendix E
    with_modseq = any(isinstance(key, t.SearchModseq) for key in keys(command_.key))
    if with_modseq:
        enable_condstore(session)
    try:
        result = await find(session.gateway, selected, command_.key)
    except Answer:
        if returns is not None and t.SearchReturn.SAVE in returns:
            selected.saved = ()  # RFC 5182 2.1: a failed SAVE leaves nothing saved
        raise
    numbers = result.uids if command_.uid else result.numbers
    if returns is None:
        modseq = max(result.modseqs) if with_modseq and result.modseqs else None
        session.write(response.search(numbers, modseq))
        return ok(b"Searched")
    if t.SearchReturn.SAVE in returns:
        selected.saved = _saved(returns, result.uids)
    if returns & ~t.SearchReturn.SAVE:
        session.write(_esearch(command_, returns, numbers, _modseq(returns, result) if with_modseq else None))
    return ok(b"Searched")


def _saved(returns: t.SearchReturn, uids: Sequence[int]) -> list[tuple[int, int]]:
    """RFC 5182 2.1: with MIN or MAX alone only those are saved."""
    if uids and returns & _SHORT and not returns & (t.SearchReturn.ALL | t.SearchReturn.COUNT):
        uids = sorted(
            ({uids[0]} if t.SearchReturn.MIN in returns else set())
            | ({uids[-1]} if t.SearchReturn.MAX in returns else set())
        )
    return runs(uids)


def _modseq(returns: t.SearchReturn, result: Result) -> int | None:
    """RFC 4731 3.2: the highest modseq of what is reported."""
    if not result.modseqs:
        return None
    if returns & (t.SearchReturn.ALL | t.SearchReturn.COUNT):
        return max(result.modseqs)
    ends = []
    if t.SearchReturn.MIN in returns:
        ends.append(result.modseqs[0])
    if t.SearchReturn.MAX in returns:
        ends.append(result.modseqs[-1])
    return max(ends)


def _esearch(command_: t.Search, returns: t.SearchReturn, numbers: Sequence[int], modseq: int | None) -> bytes:
    found = bool(numbers)
    return response.esearch(
        command_.tag,
        uid=command_.uid,
        minimum=numbers[0] if found and t.SearchReturn.MIN in returns else None,
        maximum=numbers[-1] if found and t.SearchReturn.MAX in returns else None,
        count=len(numbers) if t.SearchReturn.COUNT in returns else None,
        found=numbers if t.SearchReturn.ALL in returns else (),
        modseq=modseq,
    )
