"""SEARCH and UID SEARCH: RFC 9051 6.4.4, RFC 4731 (RETURN), RFC 5182 (SAVE), RFC 9394 (PARTIAL)."""

from __future__ import annotations

from collections.abc import Sequence

from mailboat_wire.imap import response
from mailboat_wire.imap import types as t
from mailboat_wire.imap.sequence import runs

from ..features import UTF8, enable_condstore
from ..progress import Progress
from ..replies import Answer, Reply, bad, ok
from ..search import Result, keys
from ..search import search as find
from ..session import Session
from ..states import State
from .registry import Expunge, command

_SHORT = t.SearchReturn.MIN | t.SearchReturn.MAX | t.SearchReturn.PARTIAL
_LONG = t.SearchReturn.ALL | t.SearchReturn.COUNT


@command(
    t.Search,
    State.SELECTED,
    expunge=Expunge.WITH_UID,
    capabilities=(b"ESEARCH", b"INPROGRESS", b"PARTIAL", b"SEARCHRES", b"WITHIN"),
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
        with Progress(session, command_.tag, selected.exists()) as progress:
            result = await find(session.gateway, selected, command_.key, progress)
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
        selected.saved = _saved(command_, returns, result.uids)
    if returns & ~t.SearchReturn.SAVE:
        session.write(_esearch(command_, returns, numbers, _modseq(command_, returns, result) if with_modseq else None))
    return ok(b"Searched")


def _saved(command_: t.Search, returns: t.SearchReturn, uids: Sequence[int]) -> list[tuple[int, int]]:
    """RFC 5182 2.1, RFC 9394 3.2: with MIN, MAX or PARTIAL and neither ALL nor COUNT only those are saved."""
    return runs(_chosen(command_, returns, uids) if returns & _SHORT and not returns & _LONG else uids)


def _modseq(command_: t.Search, returns: t.SearchReturn, result: Result) -> int | None:
    """RFC 4731 3.2: the highest modseq of what is reported."""
    return max(result.modseqs if returns & _LONG else _chosen(command_, returns, result.modseqs), default=None)


def _chosen(command_: t.Search, returns: t.SearchReturn, values: Sequence[int]) -> Sequence[int]:
    """Of the values, one for each message found, those of the messages that MIN, MAX and PARTIAL report."""
    count = len(values)
    places = set(range(*command_.partial.places(count))) if command_.partial is not None else set()
    if count and t.SearchReturn.MIN in returns:
        places.add(0)
    if count and t.SearchReturn.MAX in returns:
        places.add(count - 1)
    return [values[place] for place in sorted(places)]


def _esearch(command_: t.Search, returns: t.SearchReturn, numbers: Sequence[int], modseq: int | None) -> bytes:
    found = bool(numbers)
    partial = None
    if command_.partial is not None:
        start, stop = command_.partial.places(len(numbers))
        partial = command_.partial.render(), numbers[start:stop]
    return response.esearch(
        command_.tag,
        uid=command_.uid,
        minimum=numbers[0] if found and t.SearchReturn.MIN in returns else None,
        maximum=numbers[-1] if found and t.SearchReturn.MAX in returns else None,
        count=len(numbers) if t.SearchReturn.COUNT in returns else None,
        found=numbers if t.SearchReturn.ALL in returns else (),
        modseq=modseq,
        partial=partial,
    )
