"""What one network costs, and budgets: limits that its costs are held to."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from automl.errors import UsageError
from automl.units import QUANTITIES, BudgetText, Quantity, TimeUnit, format_quantity, round_up

Floats = NDArray[np.float64]
#: Quantities that are sums of operators' prices.
_PRICED: Final[tuple[Quantity, ...]] = ("latency", "joules")


@dataclass(frozen=True, slots=True)
class Cost:
    """What one policy is predicted to cost.

    Attributes:
        latency: Seconds; NaN where the target has no prices.
        macs: Multiply-accumulates of convolutions, linear layers and matmuls.
        bytes: Weights and biases.
        joules: Energy; NaN where the target does not know it.
        measured, interpolated, fitted: Shares of the latency by where its parts came from.
        unpriced: Operators with weights that the target has no price for: latency and energy are
            at least what is said.
    """

    latency: float
    macs: float
    bytes: float
    joules: float = math.nan
    measured: float = math.nan
    interpolated: float = math.nan
    fitted: float = math.nan
    unpriced: tuple[str, ...] = ()

    @classmethod
    def from_row(cls, row: Sequence[float]) -> Cost:
        """A cost from its quantities in the order of `QUANTITIES`."""
        found = dict(zip(QUANTITIES, row, strict=True))
        return cls(found["latency"], found["macs"], found["bytes"], found["joules"])

    def value(self, quantity: Quantity) -> float:
        """One quantity, in seconds, MACs, bytes or joules."""
        return float(getattr(self, quantity))

    def values(self) -> Floats:
        """All quantities in the order of `QUANTITIES`."""
        return np.array([self.value(quantity) for quantity in QUANTITIES])


def named(operators: Sequence[str]) -> str:
    """The first of some operators, and how many more there are."""
    return operators[0] + (f" (and {len(operators) - 1} more)" if len(operators) > 1 else "")


@dataclass(frozen=True, slots=True)
class Limit:
    """The most of one quantity, in seconds (or a simulator's cycles), MACs, bytes or joules."""

    quantity: Quantity
    value: float
    unit: TimeUnit = "seconds"

    def format(self, value: float) -> str:
        """A value of the limited quantity for people."""
        return format_quantity(self.quantity, value, self.unit)

    def __str__(self) -> str:
        return self.format(self.value)


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits that all have to hold. A quantity that is not known (NaN) breaks its limit."""

    limits: tuple[Limit, ...]

    def allows(self, cost: Cost) -> bool:
        """Whether no limit is exceeded; a latency or energy without an operator is no proof."""
        bound = cost.unpriced and any(limit.quantity in _PRICED for limit in self.limits)
        return not bound and bool(self.allows_all(cost.values()))

    def excess(self, cost: Cost) -> float:
        """How far the worst limit is exceeded, relative to it; 0 where none is."""
        return float(self.excess_all(cost.values()))

    def allows_all(self, costs: Floats) -> NDArray[np.bool_]:
        """`allows` for costs [..., quantities]."""
        columns, values = _arrays(self.limits)
        within: NDArray[np.bool_] = np.logical_and.reduce(costs[..., columns] <= values, axis=-1)
        return within

    def excess_all(self, costs: Floats) -> Floats:
        """`excess` for costs [..., quantities]."""
        columns, values = _arrays(self.limits)
        over = costs[..., columns] / values - 1.0
        worst: Floats = np.max(np.where(np.isnan(over), np.inf, over), axis=-1, initial=0.0)
        return worst

    def named(self, costs: Floats) -> dict[str, float]:
        """Costs [quantities] of the limited quantities, by their names."""
        columns, _ = _arrays(self.limits)
        return {QUANTITIES[column]: float(costs[column]) for column in columns}

    def describe_least(self, least: Mapping[str, float]) -> str:
        """Costs of the limited quantities for people, rounded up so that they can be met."""
        return ", ".join(limit.format(round_up(least[limit.quantity])) for limit in self.limits)

    def __str__(self) -> str:
        return " and ".join(map(str, self.limits)) or "no limit"


@lru_cache(maxsize=64)  # asked for with every few prices
def _arrays(limits: tuple[Limit, ...]) -> tuple[NDArray[np.intp], Floats]:
    columns = [QUANTITIES.index(limit.quantity) for limit in limits]
    return np.array(columns, np.intp), np.array([limit.value for limit in limits], np.float64)


def resolve_budget(
    budgets: Iterable[BudgetText],
    dense: Cost,
    energy: tuple[int, int] = (0, 0),
    unit: TimeUnit = "seconds",
) -> Budget:
    """Budgets as written, made absolute by the dense model's cost; the least of each quantity.

    Args:
        budgets: As written.
        dense: What the dense model costs.
        energy: Of the cost model, for the message where joules cannot be limited.
        unit: What the target's latencies are in.

    Raises:
        UsageError: If a quantity is limited that the target does not know, or knows without some
            operators, or a latency in another unit than the target's.
    """
    least: dict[Quantity, float] = {}
    for budget in budgets:
        whole = dense.value(budget.quantity)
        if math.isnan(whole):
            reason = f"the target has no prices for {budget.quantity}"
            if budget.quantity == "joules" and energy[0]:
                reason = f"the target knows the energy of {energy[0]} of {energy[1]} operators"
            raise UsageError(f"{reason}: it cannot be limited")
        if budget.quantity in _PRICED and dense.unpriced:
            raise UsageError(
                f"the {budget.quantity} is not known: {named(dense.unpriced)} holds weights and has"
                " no price on this target: it cannot be limited, work and size can"
            )
        if budget.quantity == "latency" and not budget.relative and budget.unit != unit:
            known = "cycles and no time: write 5Mcycles" if unit == "cycles" else "time: write 10ms"
            raise UsageError(f"the target knows {known} or 50%")
        value = budget.value * whole if budget.relative else budget.value
        least[budget.quantity] = min(value, least.get(budget.quantity, math.inf))
    return Budget(tuple(Limit(quantity, value, unit) for quantity, value in least.items()))
