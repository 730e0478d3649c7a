"""THREAD's algorithms against the steps of RFC 5256 written down plainly, and against hostile mail."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imap_gateway.slices import at_once, sort
from imap_gateway.threads import OrderedSubject, References, Threading, render
from mailboat_mime import SortKeys

Message = tuple[SortKeys, int]


def thread(threading: Threading, messages: Sequence[Message], numbers: Sequence[int] | None = None) -> str:
    for keys, sent in messages:
        threading.add(keys, sent)
    threads = at_once(threading.threads())
    return at_once(render(threads, numbers or range(1, len(messages) + 1))).decode()


def mail(number: int, *references: int, subject: str = "", reply: bool = False, sent: int = 0) -> Message:
    return SortKeys(subject=subject.encode(), is_reply=reply, message_id=number, references=references), sent


# --- RFC 5256, step by step and without a thought for speed ---


@dataclass(eq=False)
class Node:
    place: int = -1  # -1: a dummy
    keys: SortKeys = field(default_factory=SortKeys)
    sent: int = 0
    parent: Node | None = None
    children: list[Node] = field(default_factory=list)

    def attach(self, child: Node) -> None:
        child.detach()
        child.parent = self
        self.children.append(child)

    def detach(self) -> None:
        if self.parent is not None:
            self.parent.children.remove(self)
            self.parent = None

    def descends_from(self, other: Node) -> bool:
        node: Node | None = self
        while node is not None:
            if node is other:
                return True
            node = node.parent
        return False

    @property
    def dummy(self) -> bool:
        return self.place < 0

    def date(self) -> tuple[int, int]:
        return min(child.date() for child in self.children) if self.dummy else (self.sent, self.place)

    def sort_children(self) -> None:
        for child in self.children:
            child.sort_children()
        self.children.sort(key=Node.date)

    def subject(self) -> bytes:
        return min(self.children, key=Node.date).keys.subject if self.dummy else self.keys.subject

    def show(self) -> str:
        text = "" if self.dummy else str(self.place + 1)
        if len(self.children) == 1:
            return f"{text} {self.children[0].show()}"
        nested = "".join(f"({child.show()})" for child in self.children)
        return f"{text} {nested}" if text and nested else text + nested


def link(messages: Sequence[Message]) -> Node:
    """Steps 1 and 2: the root."""
    nodes: dict[int, Node] = {}
    everything: list[Node] = []
    for place, (keys, sent) in enumerate(messages):
        node = Node(place, keys, sent)
        everything.append(node)
        if keys.message_id:
            nodes.setdefault(keys.message_id, node)
    for node in list(everything):
        previous = None
        for reference in node.keys.references:
            if reference not in nodes:
                nodes[reference] = Node()
                everything.append(nodes[reference])
            referred = nodes[reference]
            if previous is not None and referred.parent is None and not previous.descends_from(referred):
                previous.attach(referred)
            previous = referred
        node.detach()
        if previous is not None and not previous.descends_from(node):
            previous.attach(node)
    root = Node()
    for node in everything:
        if node.parent is None:
            root.attach(node)
    return root


def prune(node: Node, root: Node) -> None:
    """Step 3."""
    for child in list(node.children):
        prune(child, root)
        if not child.dummy:
            continue
        if not child.children:
            child.detach()
        elif node is not root or len(child.children) == 1:
            for grandchild in list(child.children):
                node.attach(grandchild)
            child.detach()


def gather(root: Node) -> None:
    """Step 5, on a root whose children are sorted."""
    table: dict[bytes, Node] = {}
    for node in root.children:
        subject = node.subject()
        if not subject:
            continue
        if subject not in table:
            table[subject] = node
            continue
        known = table[subject]
        if not known.dummy and (node.dummy or (known.keys.is_reply and not node.keys.is_reply)):
            table[subject] = node
    for node in list(root.children):
        if node.parent is not root:
            continue
        subject = node.subject()
        known = table.get(subject, node)
        if known is node:
            continue
        if known.dummy and node.dummy:
            for child in list(node.children):
                known.attach(child)
            node.detach()
        elif known.dummy or (node.keys.is_reply and not known.keys.is_reply):
            known.attach(node)
        else:
            table[subject] = dummy = Node()
            root.attach(dummy)
            dummy.attach(node)
            dummy.attach(known)


def plainly(messages: Sequence[Message]) -> str:
    root = link(messages)
    prune(root, root)
    root.sort_children()  # step 4
    gather(root)
    root.sort_children()  # step 6
    return "".join(f"({node.show()})" for node in root.children)


def plainly_by_subject(messages: Sequence[Message]) -> str:
    order = sorted(range(len(messages)), key=lambda place: (messages[place][0].subject, messages[place][1], place))
    threads: list[list[int]] = []
    for place in order:
        if threads and messages[threads[-1][0]][0].subject == messages[place][0].subject:
            threads[-1].append(place)
        else:
            threads.append([place])
    threads.sort(key=lambda each: (messages[each[0]][1], each[0]))
    shown = []
    for first, *others in threads:
        rest = "".join(f"({place + 1})" for place in others) if len(others) > 1 else "".join(str(p + 1) for p in others)
        shown.append(f"({first + 1} {rest})" if rest else f"({first + 1})")
    return "".join(shown)


# --- both, on any mail ---

ids = st.integers(1, 9)
anything = st.lists(
    st.builds(
        lambda identity, refs, subject, reply, sent: (
            SortKeys(subject=subject, is_reply=reply, message_id=identity, references=tuple(refs)),
            sent,
        ),
        st.just(0) | ids,
        st.lists(ids, max_size=4),
        st.sampled_from([b"", b"A", b"A", b"B"]),
        st.booleans(),
        st.integers(0, 4),
    ),
    max_size=12,
)


@given(anything)
@settings(max_examples=600, deadline=None)
def test_references_are_threaded_as_the_steps_say(messages: list[Message]) -> None:
    assert thread(References(), messages) == plainly(messages)


@given(anything)
@settings(max_examples=200, deadline=None)
def test_ordered_subjects_are_threaded_as_the_steps_say(messages: list[Message]) -> None:
    assert thread(OrderedSubject(), messages) == plainly_by_subject(messages)


@given(anything, st.sampled_from([References, OrderedSubject]))
@settings(max_examples=200, deadline=None)
def test_every_message_is_in_one_thread(messages: list[Message], algorithm: type[References | OrderedSubject]) -> None:
    shown = thread(algorithm(), messages)
    assert sorted(map(int, re.findall(r"\d+", shown))) == list(range(1, len(messages) + 1))
    assert shown.count("(") == shown.count(")")


# --- what the text of the RFC singles out ---


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([], ""),
        ([mail(1), mail(2, 1), mail(3, 1, 2)], "(1 2 3)"),
        ([mail(1), mail(2, 1), mail(3, 1)], "(1 (2)(3))"),
        ([mail(1), mail(2, 1), mail(3, 1, 2), mail(4, 1, 2)], "(1 2 (3)(4))"),
        ([mail(2, 1), mail(3, 1)], "((1)(2))"),  # the parent isn't there
        ([mail(3, 1, 2)], "(1)"),  # dummies above a single message
        ([mail(2, 1), mail(1, 2)], "(2 1)"),  # the second would close a loop
        ([mail(1, 1)], "(1)"),
        ([mail(1), mail(1, sent=1), mail(2, 1)], "(1 3)(2)"),  # a Message-ID used twice
        ([mail(0), mail(0)], "(1)(2)"),
        ([mail(1), mail(3, 1, 2), mail(2)], "(1)(3 2)"),  # 2 has no references: the link from 1 to it is broken
        ([mail(2, 1, sent=5), mail(3, 1, sent=1)], "((2)(1))"),
        ([mail(2, sent=5), mail(3, sent=1)], "(2)(1)"),
        ([mail(1, subject="A"), mail(2, subject="A", reply=True)], "(1 2)"),
        ([mail(1, subject="A", reply=True), mail(2, subject="A", sent=1)], "(2 1)"),
        ([mail(1, subject="A"), mail(2, subject="A")], "((1)(2))"),
        ([mail(1, subject="A"), mail(2, subject="A"), mail(3, subject="A", sent=1)], "((1)(2)(3))"),
        ([mail(2, 1, subject="A"), mail(3, 1), mail(4, subject="A")], "((1)(2)(3))"),
        ([mail(2, 1, subject="A"), mail(3, 1), mail(5, 4, subject="A"), mail(6, 4)], "((1)(2)(3)(4))"),
    ],
)
def test_references(messages: list[Message], expected: str) -> None:
    assert thread(References(), messages) == expected == plainly(messages)


def test_the_numbers_are_the_callers() -> None:
    assert thread(References(), [mail(1), mail(2, 1)], [40, 7]) == "(40 7)"


# --- hostile mail: linear, and nothing recurses ---

MANY = 100_000


def chain(order: list[int]) -> list[Message]:
    return [mail(number, *([number - 1] if number > 1 else []), sent=number) for number in order]


@pytest.mark.parametrize("shape", ["forward", "backward", "shuffled"])
def test_a_chain_of_many_messages(shape: str) -> None:
    order = list(range(1, MANY + 1))
    if shape == "backward":
        order.reverse()
    elif shape == "shuffled":
        random.Random(1).shuffle(order)
    assert thread(References(), chain(order), order) == f"({' '.join(map(str, range(1, MANY + 1)))})"


def test_many_messages_that_each_take_another_parent() -> None:
    """Every message first hangs deep in one chain, and is then told another place by its own references."""
    dummies = [mail(MANY + 1, *range(1, MANY // 2), sent=0)]
    moved = [mail(number, number - 1 if number % 2 else number - 2, sent=number) for number in range(3, MANY // 2)]
    shown = thread(References(), dummies + moved)
    assert shown.count("(") == shown.count(")")


def test_a_fork_at_every_level_is_shown_without_recursion() -> None:
    depth = 5_000
    messages = [mail(1)]
    for level in range(2, depth):
        messages += [mail(level, level - 1, sent=level), mail(MANY + level, level - 1, sent=level)]
    shown = thread(References(), messages)
    assert shown.count("(") == shown.count(")") == 2 * depth - 3


def test_a_wide_thread_below_a_chain_of_dummies() -> None:
    above = tuple(range(1, 250))
    messages = [mail(1000 + number, *above, sent=-number) for number in range(5_000)]
    assert thread(References(), messages).startswith("((5000)(4999)")


def test_many_threads_of_one_subject() -> None:
    messages = [mail(number, subject="A", reply=number % 3 == 0) for number in range(1, 20_000)]
    assert thread(References(), messages).count("(") == 20_000


# --- sorting in slices ---


@given(st.lists(st.integers(0, 5), max_size=60), st.booleans(), st.integers(1, 9))
@settings(max_examples=200, deadline=None)
def test_sorting_in_slices_is_stable(values: list[int], reverse: bool, run: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("imap_gateway.slices.SORT_RUN", run)
        order = list(range(len(values)))
        at_once(sort(order, values.__getitem__, reverse=reverse))
    assert order == sorted(range(len(values)), key=values.__getitem__, reverse=reverse)
