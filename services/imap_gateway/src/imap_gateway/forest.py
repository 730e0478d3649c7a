"""Parent links among nodes, never in a loop (the rule of RFC 5256's REFERENCES, step 1).

Whether a link would close a loop is seen by climbing from the new parent. Threads are shallow, so a climb is a few
steps; who sends a mailbox one chain of 100,000 messages would make it quadratic. From the first climb over MAX_CLIMB
steps on the same links are therefore also kept as a link-cut tree (Sleator and Tarjan: preferred paths as splay trees),
in which any root is found in O(log n) amortised steps. It begins as the links themselves: every path a single node.
"""

from __future__ import annotations

NONE = -1
MAX_CLIMB = 100


class Forest:
    """Nodes 0, 1, 2 …; `parents[node]` is NONE for a root."""

    __slots__ = ("_paths", "parents")

    def __init__(self) -> None:
        self.parents: list[int] = []
        self._paths: _Paths | None = None

    def add(self) -> int:
        """A new root."""
        self.parents.append(NONE)
        if self._paths is not None:
            self._paths.add()
        return len(self.parents) - 1

    def link(self, child: int, parent: int) -> bool:
        """Link a root below `parent`, unless that is the root itself or below it."""
        if self._is_below(parent, child):
            return False
        self.parents[child] = parent
        if self._paths is not None:
            self._paths.link(child, parent)
        return True

    def cut(self, child: int) -> None:
        """Make a root of a node, with everything below it."""
        if self.parents[child] != NONE:
            self.parents[child] = NONE
            if self._paths is not None:
                self._paths.cut(child)

    def _is_below(self, node: int, root: int) -> bool:
        """Whether `node` is `root` or below it; `root` has no parent, so it is the root of `node` then."""
        parents = self.parents
        for _ in range(MAX_CLIMB):
            if parents[node] == NONE:
                return node == root
            node = parents[node]
        if self._paths is None:
            self._paths = _Paths(parents)
        return self._paths.root(node) == root


class _Paths:
    """The link-cut tree. `up` of a splay tree's root is the node its path hangs from; `left` is nearer to the root."""

    __slots__ = ("left", "right", "up")

    def __init__(self, parents: list[int]) -> None:
        self.up = list(parents)
        self.left = [NONE] * len(parents)
        self.right = [NONE] * len(parents)

    def add(self) -> None:
        for column in (self.up, self.left, self.right):
            column.append(NONE)

    def link(self, root: int, parent: int) -> None:
        self._expose(root)
        self.up[root] = parent

    def cut(self, node: int) -> None:
        self._expose(node)
        above = self.left[node]
        self.left[node] = self.up[above] = NONE

    def root(self, node: int) -> int:
        self._expose(node)
        while self.left[node] != NONE:
            node = self.left[node]
        self._splay(node)
        return node

    def _expose(self, node: int) -> None:
        """Make the path from the root to `node` one splay tree with `node` on top and nothing below it."""
        below, at = NONE, node
        while at != NONE:
            self._splay(at)
            self.right[at] = below
            below, at = at, self.up[at]
        self._splay(node)

    def _is_top(self, node: int) -> bool:
        up = self.up[node]
        return up == NONE or node not in (self.left[up], self.right[up])

    def _splay(self, node: int) -> None:
        while not self._is_top(node):
            up = self.up[node]
            if not self._is_top(up):
                above = self.up[up]
                same_side = (self.left[up] == node) == (self.left[above] == up)
                self._rotate(up if same_side else node)
            self._rotate(node)

    def _rotate(self, node: int) -> None:
        """Lift a node over the one above it within its splay tree."""
        up = self.up[node]
        above = self.up[up]
        near, far = (self.left, self.right) if self.left[up] == node else (self.right, self.left)
        if not self._is_top(up):
            side = self.left if self.left[above] == up else self.right
            side[above] = node
        inner = far[node]
        near[up] = inner
        if inner != NONE:
            self.up[inner] = up
        far[node] = up
        self.up[up] = node
        self.up[node] = above
