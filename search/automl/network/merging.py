"""Layers that follow each other made into one: found in a model, and put in their places."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import pairwise
from math import prod
from typing import Any, Final

import torch
from torch import nn

from automl.errors import Raised, attempt
from automl.network.additions import additions_in
from automl.network.carried import Carry, summed, unload
from automl.network.composing import LinearMap, composed, outlined, padding_of, with_identity
from automl.network.forward_tracer import Address, leaf_kind
from automl.network.groups import Grouping
from automl.network.layers import LayerPlan
from automl.network.merges import Chain, Window, spans
from automl.network.operators import is_elementwise
from automl.network.outputs import output_tensors
from automl.network.recorded import Call, Trace
from automl.network.replaceable import MergeableLayers
from automl.network.surgery import replace_layer, smaller

Tensor = torch.Tensor
_MERGED: Final = (nn.Conv2d, nn.Conv1d, nn.Linear)
#: Columns of one layer's matrix up to which it is solved by least squares in seconds; wider ones
#: are not offered.
COLUMNS: Final = 5_000
#: Merges in a row that may be made together.
_ROW: Final = 2


@dataclass(frozen=True, slots=True)
class Link:
    """Two layers of which the second alone reads what the first writes, number by number.

    Attributes:
        second: The one that reads.
        between: What is done to the numbers.
    """

    second: Call
    between: tuple[Call, ...]


def links_of(model: nn.Module, trace: Trace) -> dict[str, Link]:
    """By the name of the first layer, pairs that are one linear map without what is between."""
    users, uses, found = trace.users(), trace.uses(), dict[str, Link]()
    for call in trace.calls:
        if not _is_plain(model, call) or uses[call.step.module] > 1:
            continue
        link = _follow(call, users, trace)
        if link is None or not _is_plain(model, link.second) or uses[link.second.step.module] > 1:
            continue
        names = (call.step.module, link.second.step.module)
        if _can_become_one(*map(model.get_submodule, names)):
            found[call.step.module] = link
    return found


def _is_plain(model: nn.Module, call: Call) -> bool:
    """Whether an operation is a layer as torch has it, on its own."""
    if not call.step.module or not call.inputs:
        return False
    module = model.get_submodule(call.step.module)
    return bool(leaf_kind(module)) and type(module) in _MERGED


def _follow(first: Call, users: Mapping[int, list[Call]], trace: Trace) -> Link | None:
    """Where what a layer writes goes; None where more than one layer reads something of it."""
    values, waiting = {first.outputs[0]}, [first.outputs[0]]
    between: dict[Address, Call] = {}
    seconds: dict[Address, Call] = {}
    while waiting:
        value = waiting.pop()
        if value in trace.output:
            return None
        for reader in users.get(value, ()):
            if reader.step.module:
                seconds[reader.step.address] = reader
                continue
            if not is_elementwise(reader):
                return None
            between[reader.step.address] = reader
            waiting += [each for each in reader.outputs if each not in values]
            values.update(reader.outputs)
    if len(seconds) != 1 or any(not values.issuperset(each.inputs) for each in between.values()):
        return None
    (second,) = seconds.values()
    return Link(second, tuple(between.values()))


def _can_become_one(first: Any, second: Any) -> bool:
    if type(first) is not type(second):
        return False
    if isinstance(first, nn.Linear):
        return True
    pads = padding_of(second)
    zeros = first.padding_mode == second.padding_mode == "zeros"
    return pads is not None and padding_of(first) is not None and (zeros or not any(pads))


def find_merges(
    model: nn.Module,
    trace: Trace,
    grouping: Grouping,
    priced: Iterable[tuple[Call, LayerPlan]],
    example: Tensor,
) -> tuple[MergeableLayers, ...]:
    """Layers of a model that can become one, each tried on an example, in network order.

    Args:
        model: In eval mode.
        trace: Of it.
        grouping: Its channel groups.
        priced: Its priced layers, with the operation that each is of.
        example: An input.
    """
    links = links_of(model, trace)
    names: dict[Address, list[str]] = {}
    for call, plan in priced:
        names.setdefault(call.step.address, []).append(plan.layer.name)
    rows = [row for chain in _chains(links) for row in _rows(chain, links, model)]
    found = [span for row in rows for span in _narrow(row, model)]
    works = _works(model, found, example)
    left = [span for span in found if works or _works(model, [span], example)]
    added = additions_in(model, trace, left, example)
    return tuple(_merge(span, links, names, grouping, added.get(span)) for span in left)


def _merge(
    chain: Chain,
    links: Mapping[str, Link],
    names: Mapping[Address, list[str]],
    grouping: Grouping,
    added: Call | None,
) -> MergeableLayers:
    layers, last = [chain[0]], chain[-1]
    for name in chain[:-1]:
        calls = (*links[name].between, links[name].second)
        layers += [each for call in calls for each in names.get(call.step.address, ())]
    inside = tuple(
        group.name
        for group in grouping.groups
        if all(side.module in chain for side in (*group.producers, *group.consumers))
        and not any(side.module == chain[0] and side.side == "in" for side in group.consumers)
        and not any(side.module == last and side.side == "out" for side in group.producers)
    )
    addition = names.get(added.step.address, []) if added else []
    return MergeableLayers(chain[0], chain, tuple(layers), inside, *addition[:1])


def _chains(links: Mapping[str, Link]) -> list[Chain]:
    """Layers that follow each other, as long as they do."""
    after = {name: link.second.step.module for name, link in links.items()}
    found: list[Chain] = []
    for name in after.keys() - {*after.values()}:
        chain = [name]
        while chain[-1] in after:
            chain.append(after[chain[-1]])
        found.append(tuple(chain))
    order = list(links)
    return sorted(found, key=lambda chain: order.index(chain[0]))


def _rows(chain: Chain, links: Mapping[str, Link], model: nn.Module) -> list[list[Chain]]:
    """Parts of a chain that become one, in rows of which all may be made together.

    Longer rows are cut: first where layers follow each other without anything between them.
    """

    def is_depthwise(name: str) -> bool:
        layer: Any = model.get_submodule(name)
        return getattr(layer, "groups", 1) == getattr(layer, "in_channels", 0) > 1

    row = spans(chain, is_depthwise)
    if len(row) > _ROW:
        cut = [place for place, span in enumerate(row) if not _between(span, links)]
        rows = [row[first:last] for first, last in _spaces(cut, len(row))]
    else:
        rows = [row]
    return [part for each in rows for part in _in_parts(each)]


def _between(span: Chain, links: Mapping[str, Link]) -> bool:
    return any(links[name].between for name in span[:-1])


def _spaces(cuts: Sequence[int], length: int) -> list[tuple[int, int]]:
    """From where to where there is no cut."""
    ends = [-1, *cuts, length]
    return [(first + 1, last) for first, last in pairwise(ends) if last > first + 1]


def _in_parts(row: list[Chain]) -> list[list[Chain]]:
    """A row as rows that are short enough; the one between two of these is left out."""
    return [row[first : first + _ROW] for first in range(0, len(row), _ROW + 1)]


def _narrow(row: Sequence[Chain], model: nn.Module) -> list[Chain]:
    """Those whose one layer can be solved; two in a row only where both together can."""
    narrow = [span for span in row if _columns(model, span) <= COLUMNS]
    joined = reduce(lambda one, other: (*one, *other[1:]), narrow) if narrow else ()
    return narrow if not joined or _columns(model, joined) <= COLUMNS else narrow[:1]


def _columns(model: nn.Module, chain: Chain) -> int:
    parts = [LinearMap.outline(model.get_submodule(name)) for name in chain]
    groups = parts[0].groups if len({part.groups for part in parts}) == 1 else 1
    window = reduce(Window.before, (part.window for part in parts))
    inputs: int = parts[0].weight.shape[2] * parts[0].groups
    return inputs // groups * prod(window.kernel)


def _works(model: nn.Module, found: Sequence[Chain], example: Tensor) -> bool:
    """Whether a network runs with these layers as one, and gives outputs of the same shapes."""
    if not found:
        return True

    def shapes(network: nn.Module) -> list[torch.Size]:
        with torch.no_grad():
            return [each.shape for each in output_tensors(network(example.clone()))]

    def both() -> bool:
        made = smaller(model, (), {}, shared=True)
        for chain in found:
            merge_layers(made, chain, outlined([made.get_submodule(name) for name in chain]))
        return shapes(made) == shapes(model)

    answer = attempt(both)
    return not isinstance(answer, Raised) and answer


def merge_layers(
    model: nn.Module,
    chain: Chain,
    merged: nn.Module | None = None,
    before: nn.Module | None = None,
    *,
    adds: bool = False,
) -> None:
    """Run one layer in place of a chain, in place: it is where the last one was.

    Args:
        model: With the chain's layers.
        chain: Their names.
        merged: The one; None for the product of their weights (`composed`).
        before: What runs before it, where the first one was; None for nothing.
        adds: Whether it adds what it reads itself, which the network then does not: a layer that is
            given has that in its weights (`with_identity`).
    """
    layers = [model.get_submodule(name) for name in chain]
    made = merged
    if made is None:
        made = with_identity(composed(layers)) if adds else composed(layers)
    made.train(layers[-1].training)
    made.register_forward_pre_hook(unload)
    if adds:
        made.register_forward_hook(summed)
    replace_layer(model, chain[0], Carry(before))
    for name in chain[1:-1]:
        replace_layer(model, name, nn.Identity())
    replace_layer(model, chain[-1], made)


def merged_trace(
    trace: Trace, model: nn.Module, made: Sequence[Chain], adding: Collection[Chain] = ()
) -> Trace:
    """A trace of the dense network in which chains are one layer each, at its last one's address.

    Args:
        trace: Of the dense network.
        model: With its layers.
        made: The chains.
        adding: Those whose one layer adds what it reads itself: there is no addition then.
    """
    if not made:
        return trace
    links = links_of(model, trace)
    written = {call.step.module: call for call in trace.calls if call.step.module}
    gone, reads = set[Address](), dict[str, Call]()
    sums, users = dict[str, Call](), trace.users()
    for chain in made:
        reads[chain[-1]] = written[chain[0]]
        if chain in adding:
            (sums[chain[-1]],) = users[written[chain[-1]].outputs[0]]
            gone |= {sums[chain[-1]].step.address}
        for name in chain[:-1]:
            gone |= {written[name].step.address}
            gone |= {call.step.address for call in links[name].between}
    calls = [
        _writing(_reading(call, reads[call.step.module]), sums.get(call.step.module, call))
        if call.step.module in reads
        else call
        for call in trace.calls
        if call.step.address not in gone
    ]
    return replace(trace, calls=calls)


def _reading(call: Call, first: Call) -> Call:
    """A layer's call on what another one reads."""
    return replace(
        call,
        inputs=first.inputs,
        in_shapes=first.in_shapes,
        in_labels=first.in_labels,
        in_dims=first.in_dims,
        strided=first.strided,
    )


def _writing(call: Call, total: Call) -> Call:
    """A layer's call that writes what another operation does."""
    return replace(
        call,
        outputs=total.outputs,
        out_shapes=total.out_shapes,
        out_labels=total.out_labels,
        out_dims=total.out_dims,
    )
