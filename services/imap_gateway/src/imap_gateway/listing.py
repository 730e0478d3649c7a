"""Which mailboxes LIST and LSUB show, and with which attributes.

RFC 9051 6.3.9, 7.3.1; RFC 5258 (selection and return options), RFC 6154 (special uses), RFC 3501 6.3.9 (LSUB).

Rule: matching costs time in proportion to pattern and name, whatever wildcards a client strings together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from mailboat_store_client.types import MailboxHead, MailboxTree
from mailboat_wire.imap.names import DELIMITER, normalise_inbox
from mailboat_wire.imap.types import List, ListReturn, ListSelect

_WILDCARDS = re.compile(r"[*%]{2,}")


@dataclass(frozen=True, slots=True)
class Found:
    """One LIST response. `head` is None for a name that is only subscribed to; `for_children`: listed for them
    alone.
    """

    name: str
    attributes: tuple[bytes, ...]
    head: MailboxHead | None
    child_info: tuple[bytes, ...] = ()
    for_children: bool = False


def matcher(reference: str, pattern: str) -> Callable[[str], bool]:
    """Whether a name matches: `*` is anything, `%` anything but the delimiter (RFC 9051 6.3.9).

    Every place in the pattern is one bit of a number, and a name's letters move all bits at once.
    """
    whole = normalise_inbox(reference + pattern)
    whole = _WILDCARDS.sub(lambda run: "*" if "*" in run[0] else "%", whole)
    places: dict[str, int] = {}
    stars = percents = 0
    for index, letter in enumerate(whole):
        if letter == "*":
            stars |= 1 << index
        elif letter == "%":
            percents |= 1 << index
        else:
            places[letter] = places.get(letter, 0) | 1 << index
    wild = stars | percents
    start = 1 | (1 & wild) << 1
    end = 1 << len(whole)

    def matches(name: str) -> bool:
        state = start
        for letter in name:
            state = (state & places.get(letter, 0)) << 1 | state & (stars if letter == DELIMITER else wild)
            state |= (state & wild) << 1
        return bool(state & end)

    return matches


def _ancestors(name: str) -> Iterator[str]:
    while DELIMITER in name:
        name = name.rpartition(DELIMITER)[0]
        yield name


def find(tree: MailboxTree, command: List) -> list[Found]:
    """The LIST responses, in the tree's order, names that are only subscribed to last."""
    heads = {head.name: head for head in tree.mailboxes}
    subscribed = set(tree.subscribed_names)
    matches = [matcher(command.reference, pattern) for pattern in command.patterns]
    by_subscription = bool(command.select & ListSelect.SUBSCRIBED)
    recursive = bool(command.select & ListSelect.RECURSIVE_MATCH)

    def selected(name: str) -> bool:
        head = heads.get(name)
        if by_subscription and name not in subscribed:
            return False
        if command.select & ListSelect.SPECIAL_USE and (head is None or head.special_use is None):
            return False
        return by_subscription or head is not None

    names = dict.fromkeys(heads)
    if by_subscription:
        names.update(dict.fromkeys(tree.subscribed_names))
    parents = parents_of(heads)
    chosen_parents = (
        {ancestor for name in names if selected(name) for ancestor in _ancestors(name)} if recursive else set()
    )
    show_subscribed = by_subscription or bool(command.returns & ListReturn.SUBSCRIBED)
    found = []
    for name in dict.fromkeys([*names, *chosen_parents]):
        own = selected(name)
        if not (own or name in chosen_parents) or not any(match(name) for match in matches):
            continue
        shown = attributes(name, heads.get(name), parents, subscribed if show_subscribed else set())
        info = (b"SUBSCRIBED",) if name in chosen_parents and by_subscription else ()
        found.append(Found(name, shown, heads.get(name), info, for_children=not own))
    return found


def attributes(
    name: str, head: MailboxHead | None, parents: Collection[str], subscribed: Collection[str]
) -> tuple[bytes, ...]:
    """The attributes of a name; `head` is None if there is no such mailbox, `parents` are the names with children."""
    found = [] if head is not None else [b"\\NonExistent"]
    found.append(b"\\HasChildren" if name in parents else b"\\HasNoChildren")
    if head is not None and head.special_use is not None:
        found.append(head.special_use.value.encode("ascii"))
    if name in subscribed:
        found.append(b"\\Subscribed")
    return tuple(found)


def parents_of(names: Iterable[str]) -> set[str]:
    """The names above these."""
    return {ancestor for name in names for ancestor in _ancestors(name)}


def subscribed(tree: MailboxTree, reference: str, pattern: str) -> list[tuple[str, tuple[bytes, ...]]]:
    """The LSUB responses: subscribed names that match, and matching parents of those that `%` stops short of."""
    matches = matcher(reference, pattern)
    found: dict[str, tuple[bytes, ...]] = {}
    for name in tree.subscribed_names:
        if matches(name):
            found[name] = ()
        elif pattern.endswith("%"):
            for ancestor in _ancestors(name):
                if matches(ancestor) and ancestor not in tree.subscribed_names:
                    found[ancestor] = (b"\\Noselect",)
    return sorted(found.items())
