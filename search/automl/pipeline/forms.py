"""Which forms of layers a target offers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from automl.compression import BLOCKS, DenseForm, block_form, form_of, saves_bytes_alone
from automl.cost import named, unpriced_options
from automl.errors import UsageError
from automl.latency import LatencyTable, OpKey, Pricer, Timings, op_key
from automl.network import Layer, Network
from automl.options import Opened
from automl.pipeline.precision import precisions_of
from automl.policy import (
    Bits,
    Precisions,
    described,
    operators_bytes,
    plain_precision,
    with_kernel,
)
from automl.space import Offered, Space, SpaceSettings, open_space
from automl.units import Quantity


def priced_names(table: LatencyTable) -> frozenset[str]:
    """Precisions that a table has rows of, or coefficients for, each with its kernel."""
    fitted = (table.header.coefficients or {}).get("precisions")
    names = {row.key.precision for row in table.rows}
    return frozenset((*names, *(fitted if isinstance(fitted, dict) else ())))


def kernels_of(table: LatencyTable) -> frozenset[str]:
    """Special kernels that a table has rows of, or coefficients for."""
    return Precisions((*priced_names(table),)).kernels


class PlainElsewhere:
    """A pricer where what a special kernel does not compute in runs by the plain one.

    A kernel that a table has no rows of in a precision is not there in that precision.

    Args:
        pricer: What prices.
        names: Precisions that it has prices in, with their kernels.
    """

    def __init__(self, pricer: Pricer, names: Collection[str]) -> None:
        self._pricer, self._names = pricer, names

    def lookup(self, keys: Sequence[OpKey]) -> Timings:
        """As the pricer's."""
        return self._pricer.lookup([*map(self._computed, keys)])

    def _computed(self, key: OpKey) -> OpKey:
        plain = plain_precision(key.precision)
        if key.precision in (plain, *self._names):
            return key
        return replace(key, precision=plain)


#: Of a layer's price, what another form may cost at most to be offered as one that pays: closer
#: ones are within what prices are known to.
PAYS: Final = 0.95


def paying(price: Pricer, limited: Collection[Quantity], precisions: Sequence[str]) -> Offered:
    """What offers a layer the ways that cost less than itself, by any quantity that is limited.

    Args:
        price: Of operators.
        limited: Quantities that the budget limits.
        precisions: That layers may compute in: less in one of them is enough.
    """

    def offered(layer: Layer, ways: Sequence[Sequence[Layer]]) -> Sequence[bool]:
        every, costs = [[layer], *ways], list[Sequence[float]]()
        if "macs" in limited:
            costs.append([sum(each.macs for each in way) for way in every])
        if "bytes" in limited:
            costs.append([float(operators_bytes(way, Bits())) for way in every])
        if {*limited} & {"latency", "joules"}:
            for name in precisions:
                keys = [op_key(each, name) for way in every for each in way]
                seconds = iter(price.lookup(keys).seconds.tolist())
                costs.append([sum(next(seconds) for _ in way) for way in every])
        # a price that is not known is not less
        return [any(way <= PAYS * whole for whole, way in pairs) for pairs in _beside(costs)]

    return offered


def _beside(costs: Sequence[Sequence[float]]) -> Iterator[Sequence[tuple[float, float]]]:
    """For each way, its cost by each measure beside that of the layer, which comes first."""
    for place in range(1, len(costs[0])):
        yield [(each[0], each[place]) for each in costs]


def opened_notes(space: Space, opened: Opened) -> tuple[str, ...]:
    """What to say of forms that were opened where they pay."""
    variables = [space.variables[place] for place in space.of_kind("form")]
    if not variables:
        none = ("no form is open: none costs less than its layer on this target",)
        return none if opened.said else ()
    most = max(len(each.options) - 1 for each in variables)
    return (f"forms of {len(variables)} layers are open where they cost less, {most} at most",)


def check_forms(
    names: Sequence[str],
    target: str,
    table: LatencyTable,
    limited: Collection[str],
    computed: Collection[str] = (),
) -> tuple[str, ...]:
    """What to say of forms that were asked for by name.

    Args:
        names: Of forms.
        target: Its name, for messages.
        table: Its prices.
        limited: Quantities that the budget limits.
        computed: Precisions that layers may compute in; the dense one where there are none.

    Raises:
        UsageError: One that needs a kernel which the target has no rows of, or operators that a
            simulator has no prices for.
    """
    others = [name for name in names if not isinstance(form_of(name), DenseForm)]
    if others and not knows_shapes(table):
        raise UsageError(
            f"{target} has prices for layers as they are alone: those of other forms"
            f" ({', '.join(others)}) are not among them",
            options=("choices",),
        )
    computed = sorted(computed) or [precisions_of(table.header).dense]
    return tuple(
        note
        for found in (_kernel_notes(names, target, table, computed), _size_notes(names, limited))
        for note in found
    )


def _kernel_notes(
    names: Sequence[str], target: str, table: LatencyTable, computed: Sequence[str]
) -> Iterator[str]:
    priced = priced_names(table)
    for name in names:
        kernel = form_of(name).kernel
        needed = [with_kernel(each, kernel) for each in computed if kernel]
        lacking = [each for each in needed if each not in priced]
        if lacking and len(lacking) == len(needed):
            raise UsageError(
                f"{name} needs a kernel of its own, and {target} has no rows of one"
                f" ({', '.join(lacking)}): what it takes there is not known",
                options=("choices",),
            )
        if lacking:
            yield (
                f"{target} has no rows of {described(lacking)}: {name} is priced by the plain"
                " kernel there"
            )


def _size_notes(names: Sequence[str], limited: Collection[str]) -> Iterator[str]:
    alone = [name for name in names if saves_bytes_alone(form_of(name))]
    if alone:
        unlimited = "" if "bytes" in limited else "; no size is limited"
        yield (
            f"{', '.join(alone)}: runs as the layer itself, at its price; what it saves is size"
            f"{unlimited}"
        )


def offered_alternatives(opened: Opened, target: str, table: LatencyTable) -> tuple[str, ...]:
    """Names of what units may become: of all those that the target has rows of the kernels of.

    Args:
        opened: What is asked for.
        target: Its name, for messages.
        table: Its prices.

    Raises:
        UsageError: One that was named needs a kernel which the target has no rows of.
    """
    if "alternative" not in opened.kinds:
        return ()
    priced, dense = priced_names(table), precisions_of(table.header).dense
    kernels = {name: block_form(name).kernel for name in opened.alternatives or BLOCKS.names()}
    lacking = {
        name: with_kernel(dense, kernel)
        for name, kernel in kernels.items()
        if kernel and with_kernel(dense, kernel) not in priced
    }
    for name in opened.alternatives:
        if name in lacking:
            raise UsageError(
                f"{name} needs a kernel of its own, and {target} has no rows of one"
                f" ({lacking[name]}): what it takes there is not known",
                options=("choices",),
            )
    return tuple(name for name in kernels if name not in lacking)


def knows_shapes(table: LatencyTable) -> bool:
    """Whether a table has prices for shapes that it has no rows of; a simulator's has not."""
    return table.header.unit == "seconds" or table.header.coefficients is not None


def open_priced(
    network: Network,
    settings: SpaceSettings,
    pricer: Pricer,
    target: str,
    *,
    precisions: Precisions,
    counts: int,
) -> tuple[Space, tuple[str, ...]]:
    """The choices without forms that have no price, and what to say of these.

    Args:
        network: What was traced.
        settings: What is left open.
        pricer: Of the target.
        target: Its name, for messages.
        precisions, counts: As for `build_cost_model`.

    Raises:
        UsageError: A form that no layer is left for.
        SpaceError: As `open_space`.
    """
    space = open_space(network, settings)
    if not (space.of_kind("form") or space.of_kind("alternative")):
        return space, ()
    refused = unpriced_options(network, space, pricer, precisions=precisions, counts=counts)
    if not refused:
        return space, ()
    notes = refused_notes(space, refused, target)
    left = open_space(network, replace(settings, refused=refused))
    return left, (*notes, *_units_notes(space, left, target))


def _units_notes(before: Space, left: Space, target: str) -> Iterator[str]:
    """What to say of alternatives of units that have no price."""
    lost, stay = _units(before), _units(left)
    for name, units in lost.items():
        if gone := [unit for unit in units if unit not in stay[name]]:
            yield (
                f"{target} cannot price {name} of {named(gone)}: what has no price there is not"
                " offered"
            )


def _units(space: Space) -> defaultdict[str, list[str]]:
    """Per alternative the units that it is offered to."""
    found = defaultdict[str, list[str]](list)
    for variable in map(space.variables.__getitem__, space.of_kind("alternative")):
        for option in variable.options[:-1]:
            found[str(option)].append(variable.name)
    return found


def refused_notes(
    space: Space, refused: Mapping[str, Collection[Hashable]], target: str
) -> tuple[str, ...]:
    """What to say of forms that layers are not offered because they have no price.

    Args:
        space: The choices with these among them.
        refused: Per layer, which have none.
        target: Its name, for messages.

    Raises:
        UsageError: One that no layer is left for.
    """
    offered, lost = Counter[str](), defaultdict[str, list[str]](list)
    for variable in map(space.variables.__getitem__, space.of_kind("form")):
        options, gone = variable.options[:-1], refused.get(variable.name, ())
        offered.update({_name(each) for each in options if each not in gone})
        for name in sorted({_name(each) for each in options if each in gone}):
            lost[name].append(variable.name)
    for name, layers in lost.items():
        if not offered[name]:
            raise UsageError(
                f"{target} cannot price {name} of any layer of this network: its table has no"
                f" rows for {named(layers)}",
                options=("choices",),
            )
    return tuple(
        f"{target} cannot price {name} of {named(layers)}: what has no price there is not offered"
        for name, layers in lost.items()
    )


def _name(option: Any) -> str:
    """Of an option of the kind "form"."""
    return str(option.form)
