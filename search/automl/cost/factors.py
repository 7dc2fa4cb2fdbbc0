"""Layers' tables joined into few lookups, so that a policy's cost is one indexing a factor."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from automl.cost.layer_tables import LayerTable
from automl.latency import SOURCES, OpKey
from automl.policy import plain_precision
from automl.units import QUANTITIES

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
#: Seconds, source (index into `SOURCES`) and joules of every key.
Prices = Mapping[OpKey, tuple[float, int, float]]

#: Columns of a lookup's rows: those of `QUANTITIES`, then the seconds that were not measured.
LATENCY: Final = QUANTITIES.index("latency")
MACS: Final = QUANTITIES.index("macs")
BYTES: Final = QUANTITIES.index("bytes")
JOULES: Final = QUANTITIES.index("joules")
INTERPOLATED: Final = len(QUANTITIES)
FITTED: Final = INTERPOLATED + 1
COLUMNS: Final = FITTED + 1
#: A layer is kept as a table over its variables while that has no more entries than this.
JOINT_ENTRIES: Final = 1 << 16
#: Up to so many policies, arrays over all lookups are faster than one lookup after another.
_FEW: Final = 256


#: Of operators that a runtime computes in integers.
INTEGER: Final = "int8"


@dataclass(frozen=True, slots=True)
class Overhead:
    """Latency of a network from its operators': scale * sum + per_operator * count + constant.

    Seconds; fitted on whole networks that were measured. In the sum operators that compute
    integers count `integers` times.
    """

    scale: float = 1.0
    per_operator: float = 0.0
    constant: float = 0.0
    integers: float = 1.0


@dataclass(frozen=True, slots=True)
class CostFactor:
    """A part of the cost that depends on few variables.

    Attributes:
        scope: Variables, ascending.
        table: [options of each variable of the scope..., quantities].
    """

    scope: tuple[int, ...]
    table: Floats


@dataclass(frozen=True, slots=True)
class Lookup:
    """Rows [entries, columns] found at the sum of the variables' steps.

    Attributes:
        steps: Per variable: what each of its options adds to the row's index.
        rows: Prices.
        joint: Whether the variables are ascending and each row is one assignment of them.
    """

    steps: tuple[tuple[int, Integers], ...]
    rows: Floats
    joint: bool = False

    @property
    def scope(self) -> tuple[int, ...]:
        """Variables, ascending."""
        return tuple(sorted({variable for variable, _ in self.steps}))

    def index(self, choices: NDArray[np.int16]) -> Integers:
        """Row of each policy, from option indices [variables, policies]."""
        index = np.zeros(choices.shape[1], dtype=np.int64)
        for variable, step in self.steps:
            index += step.take(choices[variable])
        return index

    def factor(self, sizes: Sequence[int]) -> CostFactor:
        """A joint lookup as the solver reads it."""
        shape = [sizes[variable] for variable in self.scope]
        count = len(QUANTITIES)
        return CostFactor(self.scope, self.rows[:, :count].reshape(*shape, count))


class LookupSum:
    """What many lookups give together. A few policies are looked up in all of them at once.

    Searches price a few policies at a time, where a call a lookup costs more than its work.

    Attributes:
        lookups: In the order in which they are added.
    """

    def __init__(self, lookups: Sequence[Lookup]) -> None:
        nothing = (-1, np.zeros(1, dtype=np.int64))
        steps = [lookup.steps or (nothing,) for lookup in lookups]
        flat = [step for each in steps for step in each]
        self._variables = np.array([variable for variable, _ in flat], dtype=np.intp)
        self._steps = np.concatenate([np.zeros(0, dtype=np.int64), *(step for _, step in flat)])
        self._places = _starts([len(step) for _, step in flat])[:, None]
        #: Where the steps of each lookup begin among all, and its rows.
        self._firsts = _starts([len(each) for each in steps])
        sizes = [len(lookup.rows) for lookup in lookups]
        self._offsets = _starts(sizes)[:, None]
        self._rows = np.concatenate([np.zeros((0, COLUMNS)), *(each.rows for each in lookups)])
        parts = np.split(self._rows, np.cumsum(sizes))  # views: the rows are kept once
        self.lookups = tuple(
            replace(lookup, rows=rows) for lookup, rows in zip(lookups, parts[:-1], strict=True)
        )

    def at(self, choices: NDArray[np.int16]) -> Floats:
        """Sums [policies, columns] at option indices [variables, policies].

        Args:
            choices: Below the variables' rows is one of zeros, for lookups without any variable.
        """
        count = choices.shape[1]
        if self.lookups and count <= _FEW:
            return self._at_once(choices)
        sums = np.zeros((count, COLUMNS))
        for lookup in self.lookups:
            sums += lookup.rows.take(lookup.index(choices), axis=0)
        return sums

    def _at_once(self, choices: NDArray[np.int16]) -> Floats:
        steps = self._steps.take(choices.take(self._variables, axis=0) + self._places)
        index = np.add.reduceat(steps, self._firsts, axis=0) + self._offsets
        sums: Floats = np.add.reduce(self._rows.take(index, axis=0), axis=0)
        return sums


def _starts(sizes: Sequence[int]) -> Integers:
    """Where parts of these sizes begin when they follow each other."""
    return np.cumsum([0, *sizes[:-1]], dtype=np.int64) if sizes else np.zeros(0, dtype=np.int64)


def layer_lookup(table: LayerTable, prices: Prices, overhead: Overhead) -> Lookup:
    """A layer's rows. What has no prices is 0 in them: the cost model's constant is NaN then."""
    rows = np.zeros((*table.shape, COLUMNS))
    rows[..., MACS], rows[..., BYTES] = table.work()
    if prices and table.ways.priced:
        rows[..., [LATENCY, INTERPOLATED, FITTED]], rows[..., JOULES] = _priced(
            table, prices, overhead
        )
    steps: list[tuple[int, Integers]] = []
    strides = [math.prod(table.shape[position + 1 :]) for position in range(len(table.shape))]
    if table.resolution_variable is not None:
        steps.append((table.resolution_variable, strides[0] * np.arange(table.shape[0])))
    stride = strides[1]
    for variable, size in reversed(table.ways.choosers):
        steps.append((variable, stride * np.arange(size)))
        stride *= size
    for axis, stride in zip(table.axes, strides[2:], strict=True):
        steps += [(variable, stride * step) for variable, step in axis.steps]
    flat = rows.reshape(-1, COLUMNS)
    past = len(flat)
    for variable, runs in table.gates:  # one that is shut is enough to come out where nothing is
        steps.append((variable, np.where(runs, 0, past)))
    nothing = np.zeros((past * len(table.gates), COLUMNS))
    return Lookup(tuple(steps), np.concatenate([flat, nothing]))


def _priced(table: LayerTable, prices: Prices, overhead: Overhead) -> tuple[Floats, Floats]:
    """Seconds in all, interpolated and fitted [*table.shape, 3], and joules [*table.shape]."""
    operators = table.operators()
    found = np.array([prices[key] for key in operators.keys])[operators.key]
    names = [plain_precision(key.precision) for key in operators.keys]
    integer = np.array([name == INTEGER for name in names])[operators.key]
    factor = overhead.scale * np.where(integer, overhead.integers, 1.0)
    seconds, source = found[:, 0] * factor, found[:, 1]

    def spread(each: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """Sums over the operators of each entry, at all indices."""
        sums: Floats = np.bincount(operators.entry, each, operators.entries).astype(np.float64)
        return table.spread(sums)

    whole, between = spread(seconds)
    fitted, _ = spread(np.where(source == SOURCES.index("fitted"), seconds, 0.0))
    inner, _ = spread(np.where(source == SOURCES.index("interpolated"), seconds, 0.0))
    running, _ = spread(np.ones(len(seconds)))
    extra = overhead.per_operator * running
    parts = [whole + extra, np.where(between, whole - fitted, inner), fitted + extra]
    return np.stack(parts, axis=-1), spread(found[:, 2])[0]


def join(lookups: Sequence[Lookup], sizes: Sequence[int]) -> list[Lookup]:
    """The same sum in fewer lookups: each goes into one that has all of its variables."""
    joined: dict[tuple[int, ...], Floats] = {}
    wide: list[Lookup] = []
    for lookup in sorted(lookups, key=lambda lookup: -len(lookup.scope)):
        scope = lookup.scope
        if math.prod(sizes[variable] for variable in scope) > JOINT_ENTRIES:
            wide.append(lookup)
            continue
        home = next((other for other in joined if set(scope) <= set(other)), scope)
        shape = tuple(sizes[variable] for variable in home)
        choices = np.zeros((len(sizes), math.prod(shape)), dtype=np.int16)
        choices[list(home)] = np.indices(shape, dtype=np.int16).reshape(len(home), -1)
        rows = lookup.rows[lookup.index(choices)]
        joined[home] = joined[home] + rows if home in joined else rows
    for scope, rows in joined.items():
        table = rows.reshape(*(sizes[variable] for variable in scope), COLUMNS)
        wide.append(lookup_of(scope, table, joint=True))
    return wide


def digest(prices: Iterable[Floats]) -> str:
    """Hash of arrays to six figures: processors of other kinds, whose last bits differ, agree."""
    found = hashlib.sha256()
    for array in prices:
        rounded = np.nan_to_num(array.astype(np.float32), nan=-1.0)
        found.update(f"{array.shape};".encode() + rounded.tobytes())
    return found.hexdigest()


def lookup_of(scope: tuple[int, ...], table: Floats, *, joint: bool = False) -> Lookup:
    """A table as a lookup.

    Args:
        scope: Variables.
        table: [options of each variable of the scope..., columns]; columns that are missing are 0.
        joint: Whether the scope is ascending.
    """
    rows = np.zeros((math.prod(table.shape[:-1]), COLUMNS))
    rows[:, : table.shape[-1]] = table.reshape(len(rows), -1)
    steps = tuple(
        (variable, math.prod(table.shape[place + 1 : -1]) * np.arange(table.shape[place]))
        for place, variable in enumerate(scope)
    )
    return Lookup(steps, rows, joint)
