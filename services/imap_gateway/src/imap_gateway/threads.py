"""The threading algorithms of RFC 5256 (BASE.6.4.THREAD) and the THREAD response's form.

    threading = References()
    for keys, sent in messages: threading.add(keys, sent)     # in mailbox order; step 1
    threads = yield from threading.threads()                  # steps 2-6
    yield from render(threads, numbers)

Rules:
- Nothing recurses and no step costs more than O(n log n), whatever the references are.
- Siblings with equal dates keep the order of the mailbox: messages are ranked once by (sent date, place), and all
  sorting is by rank.
- Memory is some numbers for each message and each id that is referred to; the keys of a message aren't kept.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mailboat_mime import SortKeys

from .forest import NONE, Forest
from .slices import STEP, Slices, sort


@dataclass(frozen=True, slots=True)
class Threads:
    """Trees of nodes. `messages[node]` is the place of its message among those added, NONE for a dummy.

    Only a root is a dummy, and then it has at least two children. `children` has no entry for a leaf.
    """

    roots: Sequence[int]
    children: dict[int, list[int]]
    messages: Sequence[int]


class Threading(Protocol):
    """One THREAD command's messages on their way into threads."""

    def add(self, keys: SortKeys, sent: int) -> None:
        """The next message, in mailbox order; `sent` is its sent date (any unit)."""

    def threads(self) -> Slices[Threads]:
        """The threads of all messages added."""


class OrderedSubject:
    """ORDEREDSUBJECT: a thread is the messages of one base subject, the oldest of them over the others."""

    def __init__(self) -> None:
        self._sent = array("q")
        self._by_subject: dict[bytes, list[int]] = {}

    def add(self, keys: SortKeys, sent: int) -> None:
        self._by_subject.setdefault(keys.subject, []).append(len(self._sent))
        self._sent.append(sent)

    def threads(self) -> Slices[Threads]:
        ranks = yield from _ranks(self._sent)
        groups = list(self._by_subject.values())
        yield from _sort_all(groups, ranks)
        children = {group[0]: group[1:] for group in groups if len(group) > 1}
        roots = [group[0] for group in groups]
        yield from sort(roots, ranks.__getitem__)
        return Threads(roots, children, range(len(self._sent)))


class References:
    """REFERENCES: replies below what they answer, by Message IDs; then what has one subject together."""

    def __init__(self) -> None:
        self._forest = Forest()
        self._messages = array("q")  # by node
        self._nodes: dict[int, int] = {}  # by Message ID
        self._sent = array("q")
        self._subjects: list[bytes] = []
        self._replies = bytearray()

    def add(self, keys: SortKeys, sent: int) -> None:
        """Step 1: link its references to each other (A), then the message to the last of them (B)."""
        forest = self._forest
        node = self._node_of_message(keys.message_id)
        self._sent.append(sent)
        self._subjects.append(keys.subject)
        self._replies.append(keys.is_reply)
        parent = NONE
        for reference in keys.references:
            referred = self._nodes.get(reference)
            if referred is None:
                referred = self._nodes[reference] = self._new_node(NONE)
            if parent != NONE and forest.parents[referred] == NONE:
                forest.link(referred, parent)
            parent = referred
        if forest.parents[node] != parent:
            forest.cut(node)
            if parent != NONE:
                forest.link(node, parent)

    def _node_of_message(self, message_id: int) -> int:
        """The dummy that others' references made for it; else, and for a second message with its id, a new node."""
        place = len(self._sent)
        node = self._nodes.get(message_id) if message_id else None
        if node is not None and self._messages[node] == NONE:
            self._messages[node] = place
            return node
        new = self._new_node(place)
        if message_id and node is None:
            self._nodes[message_id] = new
        return new

    def _new_node(self, message: int) -> int:
        self._messages.append(message)
        return self._forest.add()

    def threads(self) -> Slices[Threads]:
        by_message = yield from _ranks(self._sent)
        roots, children = yield from self._pruned()
        ranks = array("q", [NONE if message == NONE else by_message[message] for message in self._messages])
        for root in roots:
            self._rank_dummy(root, ranks, children)
        yield from sort(roots, ranks.__getitem__)  # step 4
        roots = yield from self._gathered(roots, children, ranks)
        yield from _sort_all(children.values(), ranks)  # step 6
        for root in roots:
            self._rank_dummy(root, ranks, children)
        yield from sort(roots, ranks.__getitem__)
        return Threads(roots, children, self._messages)

    def _rank_dummy(self, node: int, ranks: array[int], children: dict[int, list[int]]) -> None:
        """A dummy stands where its first child does."""
        if self._messages[node] == NONE:
            ranks[node] = min(map(ranks.__getitem__, children[node]))

    def _pruned(self) -> Slices[tuple[list[int], dict[int, list[int]]]]:
        """Steps 2 and 3: the roots, and the children of each, without dummies but roots with several children."""
        messages, parents = self._messages, self._forest.parents
        roots: list[int] = []
        below: dict[int, list[int]] = {}
        for node, parent in enumerate(parents):
            if parent == NONE:
                roots.append(node)
            else:
                below.setdefault(parent, []).append(node)
            if node % STEP == 0:
                yield
        children: dict[int, list[int]] = {}
        stack = [(root, root) for root in roots]  # a node, and whose children its children will be
        visited = 0
        while stack:
            node, keeper = stack.pop()
            for child in below.get(node, ()):
                if messages[child] == NONE:
                    stack.append((child, keeper))
                else:
                    children.setdefault(keeper, []).append(child)
                    stack.append((child, child))
            visited += 1
            if visited % STEP == 0:
                yield
        return [kept for root in roots if (kept := self._kept_root(root, children)) != NONE], children

    def _kept_root(self, root: int, children: dict[int, list[int]]) -> int:
        """A dummy at the root stays only over several children; a single one takes its place."""
        if self._messages[root] != NONE or len(children.get(root, ())) > 1:
            return root
        only = children.pop(root, [NONE])
        return only[0]

    def _gathered(self, roots: list[int], children: dict[int, list[int]], ranks: array[int]) -> Slices[list[int]]:
        """Step 5: merge threads with the same subject."""
        messages, replies = self._messages, self._replies
        subjects = [self._thread_subject(root, children, ranks) for root in roots]
        table: dict[bytes, int] = {}
        for root, subject in zip(roots, subjects, strict=True):  # step 5.B
            known = table.setdefault(subject, root)
            if known == root or messages[known] == NONE:
                continue
            if messages[root] == NONE or (replies[messages[known]] and not replies[messages[root]]):
                table[subject] = root
        yield
        gone: set[int] = set()
        made: list[int] = []
        for place, (root, subject) in enumerate(zip(roots, subjects, strict=True)):  # step 5.C
            known = table[subject]
            if not subject or known == root or root in gone:
                continue
            if messages[known] == NONE:
                children[known] += children.pop(root) if messages[root] == NONE else [root]
            elif replies[messages[root]] and not replies[messages[known]]:
                children.setdefault(known, []).append(root)
            else:
                table[subject] = dummy = self._new_node(NONE)
                ranks.append(NONE)
                children[dummy] = [known, root]
                made.append(dummy)
                gone.add(known)
            gone.add(root)
            if place % STEP == 0:
                yield
        return [root for root in [*roots, *made] if root not in gone]

    def _thread_subject(self, root: int, children: dict[int, list[int]], ranks: array[int]) -> bytes:
        """Step 5.B.i: the base subject of the message, or of a dummy's first child."""
        first = root if self._messages[root] != NONE else min(children[root], key=ranks.__getitem__)
        return self._subjects[self._messages[first]]


def _ranks(sent: Sequence[int]) -> Slices[list[int]]:
    """The place of each message in the order of dates."""
    order = list(range(len(sent)))
    yield from sort(order, sent.__getitem__)
    ranks = [0] * len(order)
    for rank, place in enumerate(order):
        ranks[place] = rank
    return ranks


def _sort_all(lists: Iterable[list[int]], ranks: Sequence[int]) -> Slices[None]:
    done = 0
    for each in lists:
        if len(each) > 1:
            yield from sort(each, ranks.__getitem__) if len(each) > STEP else _sorted(each, ranks)
        done += len(each)
        if done >= STEP:
            done = 0
            yield


def _sorted(items: list[int], ranks: Sequence[int]) -> Iterable[None]:
    items.sort(key=ranks.__getitem__)
    return ()


_CLOSE = -2


def render(threads: Threads, numbers: Sequence[int]) -> Slices[bytes]:
    """The thread lists of a THREAD response (RFC 5256 BASE.7.2.THREAD); `numbers` by place: UIDs or message numbers."""
    out: list[str] = []
    messages, children = threads.messages, threads.children
    pause = STEP
    for root in threads.roots:
        stack = [root]
        while stack:
            node = stack.pop()
            if node == _CLOSE:
                out.append(")")
                continue
            out.append("(")
            below = children.get(node, ())
            if messages[node] != NONE:
                out.append(str(numbers[messages[node]]))
                while len(below) == 1:
                    node = below[0]
                    out.append(f" {numbers[messages[node]]}")
                    below = children.get(node, ())
                if below:
                    out.append(" ")
            stack.append(_CLOSE)
            stack.extend(reversed(below))
            if len(out) > pause:
                pause = len(out) + STEP
                yield
    return "".join(out).encode("ascii")
