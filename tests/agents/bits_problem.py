"""Made problems whose layers have bits to choose, for the tests of all agents."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from automl.cost import Budget, CostModel, Limit
from automl.cost_factors import BYTES, COLUMNS, LATENCY, MACS, Lookup, join
from automl.policy import Bits
from automl.problem import Geometry, Problem, Sensitivity
from automl.space import Space, Variable
from automl.units import Quantity

#: 2, 4 or 8 bits for each operand.
COARSE = tuple(Bits(w, a) for w in (2, 4, 8) for a in (2, 4, 8))
#: What a bit-scalable accelerator has.
BITFUSION = tuple(Bits(w, a) for w in range(2, 9) for a in range(2, 9))
#: What a CPU has.
CPU = (Bits(8, 8), Bits(32, 32))
#: What a budget on the size alone needs.
WEIGHT_ONLY = (*(Bits(w, 32) for w in range(1, 9)), Bits(32, 32))


def bits_problem(
    layers: int,
    seed: int = 0,
    share: float = 0.5,
    *,
    options: Sequence[Bits] = COARSE,
    groups: int = 0,
    quantity: Quantity = "latency",
    conversion: float = 0.02,
    block: bool = False,
) -> Problem:
    """A chain of layers with a choice of bits, the first few with a choice of channels too.

    Seconds are the most of a compute term (with the product of both bits), one of reading weights
    and one of reading activations; layers whose activations differ from the layer's before pay for
    the conversion. With `block` the last layer may be left out. Harm is additive and falls by four
    with each bit. All figures are drawn.
    """
    generator = np.random.default_rng(seed)
    variables = [Variable("bits", f"l{i}", tuple(options)) for i in range(layers)]
    variables += [Variable("channels", f"g{i}", (4, 8, 12, 16)) for i in range(groups)]
    nested = ((len(variables), (layers - 1,)),) if block else ()
    variables += [Variable("block", "b", (0, 1))] * block
    space = Space(tuple(variables), nested)
    lookups, harm = [], []
    for index in range(layers):
        compute, weights, activations = generator.uniform(0.5, 2.0, 3)
        for_weights, for_activations = generator.lognormal(0.0, 1.0, 2)
        rows = np.zeros((len(options), COLUMNS))
        worse = np.zeros(len(options))
        for place, bits in enumerate(options):
            w, a = bits.weights, bits.activations
            rows[place, LATENCY] = 1e-5 * max(compute * w * a, 4 * weights * w, 4 * activations * a)
            rows[place, BYTES] = 100 * weights * w
            worse[place] = for_weights * 4.0 ** (2 - w) + for_activations * 4.0 ** (2 - a)
        rows[:, MACS] = 1e4 * compute
        harm.append(worse - worse[-1])
        scope = [index]
        if index < groups:
            scope.append(layers + index)
            rows = (rows[:, None] * (np.arange(1, 5) / 4)[:, None]).reshape(-1, COLUMNS)
        if block and index == layers - 1:
            scope.append(len(variables) - 1)
            rows = (rows[:, None] * np.array([0.0, 1.0])[:, None]).reshape(-1, COLUMNS)
        lookups.append(_lookup(space, scope, rows))
        if index and conversion:
            read = np.array([bits.activations for bits in options])
            rows = np.zeros((len(options) ** 2, COLUMNS))
            rows[:, LATENCY] = conversion * 1e-3 * (read[:, None] != read).ravel()
            lookups.append(_lookup(space, [index - 1, index], rows))
    harm += [generator.lognormal() * (1 - np.arange(1, 5) / 4) ** 1.7 for _ in range(groups)]
    harm += [np.array([10.0, 0.0])] * block
    costs = CostModel(space, join(lookups, space.sizes), 1e-5)
    budget = Budget((Limit(quantity, share * costs.dense.value(quantity)),))
    geometry = tuple(
        Geometry(i % layers, False, 16, 16, 32, 32, 1, 3) for i in range(len(variables))
    )
    return Problem(space, costs, budget, Sensitivity(tuple(harm), images=1), geometry)


def _lookup(space: Space, scope: Sequence[int], rows: np.ndarray) -> Lookup:
    strides = np.cumprod([1, *(space.sizes[v] for v in scope[:0:-1])])[::-1]
    steps = (
        (variable, int(stride) * np.arange(space.sizes[variable]))
        for variable, stride in zip(scope, strides, strict=True)
    )
    return Lookup(tuple(steps), rows)
