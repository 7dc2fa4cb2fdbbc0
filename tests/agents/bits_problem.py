"""Made problems whose layers have bits to choose, for the tests of all agents."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from automl.cost import Budget, CostModel, Limit
from automl.cost.factors import BYTES, COLUMNS, JOULES, LATENCY, MACS, Floats, Lookup, join
from automl.policy.policy import Bits
from automl.space import Space, Variable
from automl.study.problem import Geometry, Problem, Sensitivity
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
    last: Sequence[Bits] = (),
    groups: int = 0,
    block: bool = False,
    conversion: float = 2e-5,
    quantity: Quantity = "latency",
) -> Problem:
    """A chain of layers with a choice of bits. Sensitivity is additive; all figures are drawn.

    Args:
        layers: How many.
        seed: Of all that is drawn.
        share: The limit, as a share of what the dense network costs.
        options: Of every layer.
        last: Of the last layer, where they differ.
        groups: The first so many layers have a choice of channels too.
        block: Whether the last layer may be left out.
        conversion: Seconds where a layer's activations have other bits than the layer's before.
        quantity: What is limited.
    """
    generator = np.random.default_rng(seed)
    choices = [tuple(options)] * (layers - 1) + [tuple(last or options)]
    variables = [Variable("bits", f"l{i}", each) for i, each in enumerate(choices)]
    variables += [Variable("channels", f"g{i}", (4, 8, 12, 16)) for i in range(groups)]
    nested = ((len(variables), (layers - 1,)),) if block else ()
    variables += [Variable("block", "b", (0, 1))] * block
    space = Space(tuple(variables), nested)
    lookups, sensitivity = [], []
    for index, each in enumerate(choices):
        rows, worse = _drawn(each, generator)
        sensitivity.append(worse)
        scope = [index]
        if index < groups:
            scope.append(layers + index)
            rows = (rows[:, None] * (np.arange(1, 5) / 4)[:, None]).reshape(-1, COLUMNS)
        if block and index == layers - 1:
            scope.append(len(variables) - 1)
            rows = (rows[:, None] * np.array([0.0, 1.0])[:, None]).reshape(-1, COLUMNS)
        lookups.append(_lookup(space, scope, rows))
        if index and conversion:
            lookups.append(_lookup(space, [index - 1, index], _apart(choices, index, conversion)))
    sensitivity += [generator.lognormal() * (1 - np.arange(1, 5) / 4) ** 1.7 for _ in range(groups)]
    sensitivity += [np.array([10.0, 0.0])] * block
    costs = CostModel(space, join(lookups, space.sizes), 1e-5, energy=(1, 1))
    budget = Budget((Limit(quantity, share * costs.dense.value(quantity)),))
    geometry = [Geometry(i % layers, False, 16, 16, 32, 32, 1, 3) for i in range(len(variables))]
    return Problem(space, costs, budget, Sensitivity(tuple(sensitivity), images=1), tuple(geometry))


def _drawn(options: Sequence[Bits], generator: np.random.Generator) -> tuple[Floats, Floats]:
    """A layer's rows and its sensitivity, which falls by four with each bit.

    Seconds are the most of a compute term (with the product of both bits), one of reading weights
    and one of reading activations.
    """
    compute, weights, activations = generator.uniform(0.5, 2.0, 3)
    for_weights, for_activations = generator.lognormal(0.0, 1.0, 2)
    w = np.array([bits.weights for bits in options], dtype=np.float64)
    a = np.array([bits.activations for bits in options], dtype=np.float64)
    rows = np.zeros((len(options), COLUMNS))
    terms = (compute * w * a, 4 * weights * w, 4 * activations * a)
    rows[:, LATENCY] = 1e-5 * np.maximum.reduce(terms)
    rows[:, BYTES], rows[:, MACS] = 100 * weights * w, 1e4 * compute
    rows[:, JOULES] = 1e-6 * (compute * w * a + weights * w + activations * a)
    sensitivity = for_weights * 4.0 ** (2 - w) + for_activations * 4.0 ** (2 - a)
    return rows, sensitivity - sensitivity[-1]


def _apart(choices: Sequence[Sequence[Bits]], index: int, seconds: float) -> Floats:
    """Rows of the conversion between a layer and the one before."""
    before, here = ([bits.activations for bits in choices[i]] for i in (index - 1, index))
    rows = np.zeros((len(before) * len(here), COLUMNS))
    rows[:, LATENCY] = seconds * (np.array(before)[:, None] != here).ravel()
    return rows


def _lookup(space: Space, scope: Sequence[int], rows: Floats) -> Lookup:
    strides = np.cumprod([1, *(space.sizes[v] for v in scope[:0:-1])])[::-1]
    steps = (
        (variable, int(stride) * np.arange(space.sizes[variable]))
        for variable, stride in zip(scope, strides, strict=True)
    )
    return Lookup(tuple(steps), rows)
