"""What policies cost: everything is priced once, then a policy's cost is indexing."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from automl.cost.budget import Cost
from automl.cost.conversions import BlockOutputPrecision, add_auxiliary, conversions
from automl.cost.factors import (
    BYTES,
    COLUMNS,
    FITTED,
    INTERPOLATED,
    JOULES,
    LATENCY,
    MACS,
    CostFactor,
    Lookup,
    LookupSum,
    Overhead,
    Prices,
    digest,
    join,
    layer_lookup,
)
from automl.cost.kept_additions import kept_additions
from automl.cost.layer_tables import Builder, LayerTable, unpriced_in
from automl.errors import TableError
from automl.latency import MISSING, OpKey, Pricer, Timings
from automl.network import Network
from automl.policy import FP32, Policy, Precisions
from automl.space import Space, Vectors
from automl.units import QUANTITIES

Floats = NDArray[np.float64]
#: Priced counts a side of a layer: with more options than that, those between are interpolated.
COUNTS_PER_SIDE: Final = 8


class CostModel:
    """Prices of all policies of a space. Built by `build_cost_model`."""

    def __init__(
        self,
        space: Space,
        lookups: Sequence[Lookup],
        constant: float,
        energy: tuple[int, int] = (0, 0),
        block_outputs: Sequence[BlockOutputPrecision] = (),
        dense: Cost | None = None,
        unpriced: tuple[str, ...] = (),
    ) -> None:
        self.space = space
        #: Operators with weights that the target has no price for: a latency is at least its value.
        self.unpriced = unpriced
        self._block_outputs, self._dense = tuple(block_outputs), dense
        #: Operators whose energy the target knows, and all: it can be limited where it knows all.
        self.energy = energy
        self._total = LookupSum(lookups)
        self._lookups = self._total.lookups
        known = 0 < energy[0] == energy[1]
        self._constant = np.zeros(len(QUANTITIES))
        self._constant[LATENCY] = constant
        self._constant[JOULES] = 0.0 if known else math.nan

    def price(self, vectors: Vectors) -> Floats:
        """Costs [policies, quantities], as `QUANTITIES`, of vectors [policies, variables]."""
        costs: Floats = self._sum(vectors, len(QUANTITIES)) + self._constant
        return costs

    def cost(self, policy: Policy) -> Cost:
        """What one policy costs, and where the prices of its latency came from.

        Raises:
            SpaceError: If the policy is not in the space.
        """
        vector = self.space.encode(policy)[None]
        if self._dense and not policy.bits and (vector[0] == self.space.dense).all():
            return self._dense
        row = self._sum(vector, COLUMNS)[0]
        constant = float(self._constant[LATENCY])
        latency = float(row[LATENCY]) + constant
        whole = latency if latency > 0.0 else math.nan
        interpolated = float(row[INTERPOLATED]) / whole
        fitted = (float(row[FITTED]) + constant) / whole
        return Cost(
            latency=latency,
            macs=float(row[MACS]),
            bytes=float(row[BYTES]),
            joules=float(row[JOULES] + self._constant[JOULES]),
            measured=max(0.0, 1.0 - interpolated - fitted),
            interpolated=interpolated,
            fitted=fitted,
            unpriced=self.unpriced,
        )

    @property
    def digest(self) -> str:
        """Hash of the prices of all choices, to six figures; 64 hexadecimal digits."""
        return digest([self._constant, *(lookup.rows for lookup in self._lookups)])

    @property
    def dense(self) -> Cost:
        """The dense network's cost, also where the space holds layers at fewer bits."""
        return self._dense or self.cost(self.space.decode(self.space.dense))

    @property
    def auxiliary(self) -> tuple[int, ...]:
        """Options of each auxiliary variable of the factors: what removed blocks pass on."""
        return tuple(each.size for each in self._block_outputs)

    def settled(self, held: Mapping[int, int]) -> Mapping[int, int]:
        """The auxiliary variables' options, as far as held variables of the space tell them."""
        known = dict(held)
        for number, each in enumerate(self._block_outputs, start=len(self.space.variables)):
            option = each.settle(known)
            if option is not None:
                known[number] = option
        return {each: option for each, option in known.items() if each not in held}

    @property
    def constant(self) -> Floats:
        """What every policy costs beside its factors [quantities]."""
        return self._constant.copy()

    def factors(self) -> tuple[tuple[CostFactor, ...], bool]:
        """The cost as a sum of small factors, and whether they hold all of it.

        Variables from the number of the space's on are `auxiliary`; assignments in which they are
        not what the space's variables make them cost more than any policy. Layers that read the
        concatenation of many groups are in no factor: for a network with such layers the answer
        is False and sums of factors have to be re-priced with `price`.
        """
        sizes = (*self.space.sizes, *self.auxiliary)
        factors = tuple(lookup.factor(sizes) for lookup in self._lookups if lookup.joint)
        whole = len(factors) == len(self._lookups)
        return (*factors, *self._bindings(sizes)), whole

    def _bindings(self, sizes: Sequence[int]) -> Iterator[CostFactor]:
        """Factors that make an auxiliary variable other than it is dearer than any policy."""
        count = len(QUANTITIES)
        most = np.abs(self._constant) + sum(
            each.rows[:, :count].max(axis=0) for each in self._lookups
        )
        for number, each in enumerate(self._block_outputs, start=len(self.space.variables)):
            scope, broken = each.violations(sizes)
            table = np.zeros((*broken.shape, count))
            for quantity in (LATENCY, JOULES):
                table[..., quantity] = np.where(broken, 4.0 * np.nan_to_num(most[quantity]), 0.0)
            yield CostFactor((*scope, number), table)

    def _sum(self, vectors: Vectors, columns: int) -> Floats:
        known = len(self.space.variables)
        choices = np.zeros((known + len(self._block_outputs) + 1, len(vectors)), dtype=np.int16)
        choices[:known] = self.space.canonical(vectors).T
        for number, each in enumerate(self._block_outputs, start=known):
            choices[number] = each.follow(choices)
        return self._total.at(choices)[:, :columns]


def required_keys(
    network: Network,
    space: Space,
    *,
    precisions: Precisions = FP32,
    counts: int = COUNTS_PER_SIDE,
) -> list[OpKey]:
    """Every operator that has to be priced before policies of the space can be, each once.

    Args:
        network: What was traced.
        space: The choices.
        precisions: Of the target; layers whose bits are not chosen run in the dense one.
        counts: At most so many channel counts are priced a side of a layer.
    """
    tables, dense, _ = _tables(Builder(network, space, precisions, counts), timed=True)
    return _keys([*tables, *dense])


def unpriced_options(
    network: Network,
    space: Space,
    pricer: Pricer,
    *,
    precisions: Precisions = FP32,
    counts: int = COUNTS_PER_SIDE,
) -> Mapping[str, frozenset[Hashable]]:
    """Per layer, what it could run as that has no price at some of the widths and sizes it can be.

    Of what can run in the place of layers: by its name, the special kernel.

    Args:
        network: What was traced.
        space: The choices.
        pricer: As for `build_cost_model`.
        precisions: Of the target.
        counts: As for `required_keys`.
    """
    tables, _, _ = _tables(Builder(network, space, precisions, counts), timed=True)
    lowered = [
        table for table in tables if any(way.lower or way.special for way in table.ways.priced)
    ]
    keys = _keys(lowered)
    unknown = dict(zip(keys, (~_known(pricer.lookup(keys))).tolist(), strict=True))
    found = defaultdict[str, set[Hashable]](set)
    for table in lowered:
        operators, ways = table.operators(), table.ways.priced
        lost = np.array([unknown[key] for key in operators.keys])[operators.key]
        entries = operators.entries // (len(table.resolutions) * len(ways))
        for way in np.unique(operators.entry[lost] // entries % len(ways)).tolist():
            if (lower := ways[way].lower) is not None:
                found[table.plan.layer.name].add(lower.option)
            elif special := ways[way].special:
                found[table.plan.layer.name].add(special)
    return {layer: frozenset(options) for layer, options in found.items()}


def build_cost_model(
    network: Network,
    space: Space,
    pricer: Pricer | None,
    *,
    overhead: Overhead | None = None,
    precisions: Precisions = FP32,
    counts: int = COUNTS_PER_SIDE,
    allow_missing: bool = False,
) -> CostModel:
    """Price everything that the space can ask for, once.

    Layers run in the precision of their owner; those that integer kernels do not exist for, and
    those whose weights alone are rounded, in the dense one. Conversions between precisions are
    priced as operators (see `automl.cost.conversions`), not so on simulators.

    Args:
        network: What was traced.
        space: The choices.
        pricer: A table or predictor; None where only MACs and bytes are wanted (latency is NaN).
        overhead: From the sum of operators to the network; None for the plain sum.
        precisions: Of the target; layers whose bits are not chosen run in the dense one.
        counts: As for `required_keys`.
        allow_missing: Leave the latency NaN where a layer has an operator without a price.

    Raises:
        TableError: If operators have no price.
    """
    builder = Builder(network, space, precisions, counts)
    tables, whole, block_outputs = _tables(builder, timed=pricer is not None)
    overhead = overhead or Overhead()
    if pricer is None:
        prices: Prices = {}
        overhead = Overhead(constant=math.nan)
    else:
        prices = _ask(pricer, _keys([*tables, *whole]), precisions.simulated, allow_missing)
    known = sum(not math.isnan(joules) for _, _, joules in prices.values())
    if known < len(prices):
        prices = {key: (seconds, source, 0.0) for key, (seconds, source, _) in prices.items()}
    energy, constant = (known, len(prices)), overhead.constant
    sizes = (*space.sizes, *(each.size for each in block_outputs))
    lookups = [layer_lookup(table, prices, overhead) for table in tables]
    unpriced = () if pricer is None else unpriced_in(network, precisions)
    dense = None
    if whole:
        rows = [layer_lookup(table, prices, overhead) for table in whole]
        dense = CostModel(Space(()), rows, constant, energy, unpriced=unpriced).cost(Policy())
    return CostModel(space, join(lookups, sizes), constant, energy, block_outputs, dense, unpriced)


def _tables(
    builder: Builder, timed: bool
) -> tuple[list[LayerTable], list[LayerTable], tuple[BlockOutputPrecision, ...]]:
    """What policies are priced from, and the dense network where it is not in the space."""
    variables = builder.space.variables
    held = any(len(variables[each].options) == 1 for each in builder.space.of_kind("bits"))
    dense = list(replace(builder, space=Space(())).tables()) if held else []
    if not timed:
        return [*builder.tables(), *kept_additions(builder)], dense, ()
    builder, block_outputs = add_auxiliary(builder)
    tables = [*builder.tables(), *kept_additions(builder), *conversions(builder)]
    return tables, dense, block_outputs


def _keys(tables: Sequence[LayerTable]) -> list[OpKey]:
    return list(dict.fromkeys(key for table in tables for key in table.operators().keys))


def _known(timings: Timings) -> NDArray[np.bool_]:
    """Which of some operators have a price."""
    found: NDArray[np.bool_] = (timings.source != MISSING) & ~np.isnan(timings.seconds)
    return found


def _ask(pricer: Pricer, keys: Sequence[OpKey], simulated: bool, allow_missing: bool) -> Prices:
    """Seconds, source and joules of every key."""
    timings = pricer.lookup(keys)
    missing = ~_known(timings)
    if missing.any() and not allow_missing:
        lost = Counter(key.op for key, gone in zip(keys, missing.tolist(), strict=True) if gone)
        example = keys[int(np.argmax(missing))]
        raise TableError(
            f"the table cannot price {int(missing.sum())} of {len(keys)} operators: "
            + ", ".join(f"{count} x {op}" for op, count in lost.most_common())
            + f" (the first: {example}); "
            + ("it simulates other networks" if simulated else "measure them with `automl profile`")
        )
    seconds = np.where(missing, np.nan, timings.seconds).tolist()
    joules = [math.nan] * len(keys) if timings.joules is None else timings.joules.tolist()
    return dict(zip(keys, zip(seconds, timings.source.tolist(), joules, strict=True), strict=True))
