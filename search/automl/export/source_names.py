"""Names of the values of a graph, such as people write them: x goes on as x, a branch is y."""

from __future__ import annotations

import keyword
from collections.abc import Iterator, Sequence
from itertools import count

from torch import fx

from automl.export.source_operators import operator_name

#: Names of values, and of sizes.
_VALUES, _SIZES = "xyzabcdefghpqruvw", "nmkl"
#: What a source has imported.
TAKEN = frozenset({"F", "OrderedDict", "Path", "Tensor", "nn", "self", "torch"})


class ValueNames:
    """A name for each value of a graph: that of what ends there goes on, first of all.

    Args:
        graph: Its nodes in the order in which they run.
        given: Names of what the graph is given, as its caller knows them; without any they are
            called as other values are.
    """

    def __init__(self, graph: fx.Graph, given: Sequence[str] = ()) -> None:
        nodes = list(graph.nodes)
        self._at = {node: at for at, node in enumerate(nodes)}
        self._names: dict[fx.Node, str] = {}
        self._last = {
            node: max((self._at[user] for user in node.users), default=self._at[node])
            for node in nodes
        }
        self._given = frozenset(given)
        holders = [node for node in nodes if node.op == "placeholder"]
        for number, node in enumerate(holders):
            self._names[node] = given[number] if given else self._fresh(node)
        for node in nodes:
            if node.op in ("call_function", "call_module") and node not in self._names:
                self._name(node)

    def __getitem__(self, node: fx.Node) -> str:
        return self._names[node]

    def parts(self, node: fx.Node) -> list[fx.Node]:
        """What a value of several is taken apart into, in order; none where it is not, wholly."""
        users = list(node.users)
        places = [user.args[1] if operator_name(user) == "getitem" else None for user in users]
        value = node.meta.get("val")
        whole = isinstance(value, tuple | list) and len(value) == len(users)
        if (
            not users
            or not whole
            or sorted(map(str, places)) != sorted(map(str, range(len(users))))
        ):
            return []
        return sorted(users, key=lambda user: int(str(user.args[1])))

    def _name(self, node: fx.Node) -> None:
        parts = self.parts(node)
        if parts:
            for part in parts:
                self._names[part] = self._fresh(part, self._at[node])
            return
        held = [each for each in node.all_input_nodes if each in self._names]
        first = held[0] if held else None
        ends = first is not None and self._last[first] == self._at[node] and not _is_size(first)
        if first is not None and ends and not _is_size(node):
            self._names[node] = self._names[first]
        else:
            self._names[node] = self._fresh(node)

    def _fresh(self, node: fx.Node, at: int | None = None) -> str:
        at = self._at[node] if at is None else at
        live = {name for each, name in self._names.items() if self._last[each] > at}
        if node.op == "placeholder":
            live |= set(self._names.values())
        return next(name for name in _offered(_is_size(node)) if name not in live | self._given)


def _offered(size: bool) -> Iterator[str]:
    yield from _SIZES if size else _VALUES
    yield from (f"{'n' if size else 'x'}{number}" for number in count(1))


def _is_size(node: fx.Node) -> bool:
    return operator_name(node) == "sym_size"


def is_name(text: str) -> bool:
    """Whether something can be called so in Python."""
    return text.isidentifier() and not keyword.iskeyword(text) and text not in TAKEN
