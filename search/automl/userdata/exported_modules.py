"""The modules of an exported program, made again by the names that its operators keep of them."""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterator
from typing import Any, Final

from torch import fx, nn
from torch.utils._pytree import TreeSpec

#: Under which key of a node's meta the modules stand that it runs in, outermost first.
PATH: Final = "modules"
_STACK: Final = "nn_module_stack"
#: What torch writes there of operators that belong to no module.
_NOWHERE: Final = "_empty_nn_module_stack"


class Exported(fx.GraphModule):
    """A module that runs a graph. Copies of it keep what was noted on it, as other modules' do."""

    def __deepcopy__(self, memo: Any) -> Exported:
        made = object.__new__(type(self))  # of one class with it, which has the graph's code
        memo[id(self)] = made
        for name, value in vars(self).items():
            shared = isinstance(value, fx.Graph | TreeSpec)  # nothing changes these
            made.__dict__[name] = value if shared else copy.deepcopy(value, memo)
        return made


def path_of(node: fx.Node) -> tuple[str, ...]:
    """Names of the modules that an operator ran in, outermost first, without the network itself.

    Of a second call of a module the name ends in "@1", and so on.
    """
    if PATH in node.meta:
        path: tuple[str, ...] = node.meta[PATH]
        return path
    entries = (node.meta.get(_STACK) or {}).items()
    return tuple(
        entry[0] + "".join(key.rpartition("@")[1:] if "@" in key else ())
        for key, entry in entries
        if isinstance(entry, tuple) and entry[0] and not key.startswith(_NOWHERE)
    )


def put(root: nn.Module, name: str, module: nn.Module) -> None:
    """Put a module at a dotted name, with empty ones on the way where there are none."""
    *outer, leaf = name.split(".")
    for part in outer:
        if not isinstance(getattr(root, part, None), nn.Module):
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    root.add_module(leaf, module)


def nest(network: fx.GraphModule) -> None:
    """Move what each module did into a module of its name, where that was called once.

    A module that is called several times, or whose operators do not lie together, stays as its
    operators among those of the module around it.
    """
    graph = network.graph
    _near_their_users(graph)
    nodes = [node for node in graph.nodes if node.op not in ("placeholder", "output")]
    _fill_gaps(nodes)
    layers = {str(node.target) for node in nodes if node.op == "call_module"}
    places = dict[str, list[int]]()
    for at, node in enumerate(nodes):
        for name in path_of(node):
            places.setdefault(name, []).append(at)
    again = {name.partition("@")[0] for name in places if "@" in name}
    whole = {
        name
        for name, at in places.items()
        if name not in layers
        and name not in again
        and "@" not in name
        and at[-1] - at[0] == len(at) - 1
    }
    for node in nodes:
        node.meta[PATH] = _inside(node, whole)
    again = {name for name in whole if not _together(nodes, name)}
    for node in nodes:
        node.meta[PATH] = tuple(name for name in path_of(node) if name not in again)
    _fold(network, graph, "", 0)


def _near_their_users(graph: fx.Graph) -> None:
    """Read constants just before each operator of the module that holds them."""
    for node in [node for node in graph.nodes if node.op == "get_attr"]:
        owner = str(node.target).rpartition(".")[0]
        for user in list(node.users):
            path = path_of(user)
            if owner and path[-1:] == (owner,):
                with graph.inserting_before(user):
                    near = graph.get_attr(str(node.target))
                near.meta = {**node.meta, PATH: path}
                user.replace_input_with(node, near)
        if not node.users:
            graph.erase_node(node)


def _fill_gaps(nodes: list[fx.Node]) -> None:
    """Operators that name no module ran where both of those around them did."""
    known = [node for node in nodes if path_of(node)]
    for at, node in enumerate(nodes):
        if path_of(node) or node.op == "get_attr" or not known:
            continue
        before = next((path_of(each) for each in reversed(nodes[:at]) if each in known), ())
        after = next((path_of(each) for each in nodes[at + 1 :] if each in known), ())
        common = [one for one, other in zip(before, after, strict=False) if one == other]
        node.meta[PATH] = tuple(common)


def _inside(node: fx.Node, whole: set[str]) -> tuple[str, ...]:
    """The modules on a node's way that are made again, each within the one before it."""
    path = list[str]()
    named = node.op in ("call_module", "get_attr")
    for name in path_of(node):
        within = not path or name.startswith(f"{path[-1]}.")
        holds = not named or str(node.target).startswith(f"{name}.")
        if name in whole and within and holds:
            path.append(name)
    return tuple(path)


def _together(nodes: list[fx.Node], name: str) -> bool:
    at = [index for index, node in enumerate(nodes) if name in path_of(node)]
    return not at or at[-1] - at[0] == len(at) - 1


def _runs(graph: fx.Graph, level: int) -> Iterator[tuple[str, list[fx.Node]]]:
    """Nodes of each module at one level of nesting, in order."""
    runs = dict[str, list[fx.Node]]()
    for node in graph.nodes:
        path = path_of(node) if node.op not in ("placeholder", "output") else ()
        if len(path) > level:
            runs.setdefault(path[level], []).append(node)
    yield from runs.items()


def _fold(network: fx.GraphModule, graph: fx.Graph, around: str, level: int) -> None:
    for name, run in list(_runs(graph, level)):
        own = set(run)
        read = list(
            dict.fromkeys(each for node in run for each in node.all_input_nodes if each not in own)
        )
        written = [node for node in run if any(user not in own for user in node.users)]
        target = name[len(around) + 1 :] if around else name
        inner = _copied(run, read, written, target)
        _fold(network, inner, name, level + 1)
        try:
            holder = network.get_submodule(name)
        except AttributeError:  # it has no weights
            holder = nn.Module()
        made = Exported(holder, inner)
        for child, module in holder.named_children():  # others call them too
            if child not in made._modules:
                made.add_module(child, module)
        put(network, name, made)
        with graph.inserting_before(run[0]):
            call = graph.call_module(target, tuple(read))
            call.meta[PATH] = path_of(run[0])[:level]
            outputs = [call]
            if len(written) != 1:
                outputs = [
                    graph.call_function(operator.getitem, (call, index))
                    for index in range(len(written))
                ]
                for each in outputs:
                    each.meta[PATH] = call.meta[PATH]
        for node, output in zip(written, outputs, strict=True):
            node.replace_all_uses_with(output)
        for node in reversed(run):
            graph.erase_node(node)


def _copied(run: list[fx.Node], read: list[fx.Node], written: list[fx.Node], name: str) -> fx.Graph:
    """A graph of some nodes, whose names of modules and tensors are those within a module."""
    graph = fx.Graph()
    known: dict[fx.Node, Any] = {node: graph.placeholder(node.name) for node in read}
    for node in run:
        known[node] = graph.node_copy(node, lambda each: known[each])
        if node.op in ("call_module", "get_attr"):
            known[node].target = str(node.target)[len(name) + 1 :]
    outputs = tuple(known[node] for node in written)
    graph.output(outputs[0] if len(outputs) == 1 else outputs)
    return graph
