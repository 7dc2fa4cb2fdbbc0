"""Where precisions meet: conversions of values, and what a removed block passes on.

A value is converted where the layer that wrote it and one that reads it compute in different
precisions. Without a block, what follows it reads what entered it: the precision of a block's
output is therefore an auxiliary variable of the prices, which is that of the block's last layer
where the block is kept and that of what entered where it is not. So the prices of networks with
removed blocks are exact, and still sums of small tables.

What is approximate: a value that several removable blocks read is counted once a block; a block
whose output is always float (it ends in an operator without integer kernel) counts as float when
it is removed; a value with more than `READERS` reading layers is counted once for so many.

Layers that are made one (merges) read what the first of them does, in the bits of the last: a value
has one table for each way in which those that read it can become one, of which one counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from automl.cost.grids import Way
from automl.cost.layer_tables import Builder, Gate, LayerTable, Ways
from automl.network import Boundary
from automl.policy import Bits, is_float

Integers = NDArray[np.int64]
#: Reading layers of one value that share one conversion.
READERS: Final = 4

Choice = tuple[int, tuple[Bits, ...]]


@dataclass(frozen=True, slots=True)
class BlockOutputPrecision:
    """The precision of what leaves a removable block: an auxiliary variable of the prices.

    Attributes:
        gate: The block's variable.
        inside: The variable of the bits that the block, when it is kept, writes its output in.
        source: The variable, auxiliary or not, of what entered; None where that is always float.
        moved: Per option of the source, the option of `inside` that it is; one entry for none.
        size: Number of options, those of `inside`.
    """

    gate: int
    inside: int
    source: int | None
    moved: Integers
    size: int

    def follow(self, choices: NDArray[np.int16]) -> NDArray[np.int16]:
        """Its option [policies] from those of all variables before it [variables, policies]."""
        entered = self.moved.astype(np.int16)[0 if self.source is None else choices[self.source]]
        left: NDArray[np.int16] = np.where(choices[self.gate] > 0, choices[self.inside], entered)
        return left

    def settle(self, held: dict[int, int]) -> int | None:
        """Its option when these variables are held; None where that is not enough to tell."""
        inside = held.get(self.inside)
        entered = 0 if self.source is None else held.get(self.source)
        passed = None if entered is None else int(self.moved[entered])
        gate = held.get(self.gate)
        if gate is None:
            return inside if inside == passed else None
        return inside if gate else passed

    def violations(self, sizes: Sequence[int]) -> tuple[tuple[int, ...], NDArray[np.bool_]]:
        """The variables that tell it, ascending, and where they say something else than itself.

        Args:
            sizes: Options of all variables, the auxiliary ones after those of the space.
        """
        told = [self.gate, self.inside, *([] if self.source is None else [self.source])]
        scope = tuple(sorted({*told}))
        grid = np.indices([sizes[variable] for variable in scope], dtype=np.int16)
        choices = np.zeros((max(scope) + 1, grid[0].size), dtype=np.int16)
        choices[list(scope)] = grid.reshape(len(scope), -1)
        wrong = self.follow(choices).reshape(grid[0].shape)[..., None] != np.arange(self.size)
        return scope, wrong


def add_auxiliary(builder: Builder) -> tuple[Builder, tuple[BlockOutputPrecision, ...]]:
    """The auxiliary variables of a space, numbered after its own, and a builder that knows them."""
    space, positions = builder.space, builder.space.positions
    found: list[BlockOutputPrecision] = []
    choosers: dict[str, Choice] = {}
    if not builder.precisions.simulated:
        for block in builder.network.blocks:
            gate = positions.get(("block", block.name))
            written = builder.own_choice(block.leaves)
            if gate is None or written is None or block.leaves not in block.layers:
                continue
            inside, options = written
            entering = choosers.get(block.enters) or builder.own_choice(block.enters)
            source, before = entering or (None, (options[-1],))
            dense = len(options) - 1
            moved = [options.index(bits) if bits in options else dense for bits in before]
            choosers[block.leaves] = (len(space.variables) + len(found), options)
            found.append(BlockOutputPrecision(gate, inside, source, np.array(moved), len(options)))
    return replace(builder, choosers=choosers), tuple(found)


def conversions(builder: Builder) -> Iterator[LayerTable]:
    """The tables of all conversions: each value once for the layers that read it together."""
    if builder.precisions.simulated:
        return
    values: dict[tuple[str, str, str], list[Boundary]] = {}
    for boundary in builder.network.boundaries:
        key = (boundary.producer, boundary.value or boundary.plan.layer.name, boundary.reader_block)
        values.setdefault(key, []).append(boundary)
    readers = _readers(builder)
    for (producer, _, block), boundaries in values.items():
        written = builder.choice(producer, block)
        plan = replace(boundaries[0].plan, block=block)
        inside = [
            merge.name
            for merge in builder.network.merges
            if any(merge.holds(producer, each.reader) for each in boundaries)
        ]
        choices = [(builder.choice(each.consumer, block), each.consumer) for each in boundaries]
        read = dict.fromkeys((each, name * (name in readers)) for each, name in choices)
        some = [readers.get(name) or [(each, ())] for each, name in read]
        for first in range(0, len(some), READERS):
            for together in product(*some[first : first + READERS]):
                ways = _ways(written, [*dict.fromkeys(choice for choice, _ in together)])
                if ways.priced:
                    gates = [gate for _, each in together for gate in each]
                    gates += [*builder.gates(plan), *builder.apart(inside)]
                    yield builder.table(plan, ways, tuple(dict.fromkeys(gates)))


def _readers(builder: Builder) -> dict[str, list[tuple[Choice | None, tuple[Gate, ...]]]]:
    """Per layer that others may be made one with: what tells the bits it reads in, and when."""
    found: dict[str, list[tuple[Choice | None, tuple[Gate, ...]]]] = {}
    for each in builder.merged:
        first, last = each.chain[0], each.chain[-1]
        alone = (builder.own_choice(first), builder.apart([first]))
        found.setdefault(first, [alone]).append((builder.own_choice(last), builder.made(each)))
    return found


def _ways(written: Choice | None, read: Sequence[Choice | None]) -> Ways:
    """How a value is converted under each choice of its writer's and its readers' bits."""
    parties = [written, *read]
    choosers = tuple((each[0], len(each[1])) for each in parties if each is not None)
    names = [
        conversion(is_float(bits[0]), [is_float(each) for each in bits[1:]])
        for bits in product(*(each[1] if each is not None else (Bits(),) for each in parties))
    ]
    priced = tuple(sorted({name for name in names if name}))
    chosen = tuple(priced.index(name) if name else None for name in names)
    return Ways(tuple(map(Way, priced)), chosen, (Bits(),) * len(chosen), choosers)


def conversion(writes_float: bool, read_floats: Sequence[bool]) -> str:
    """What becomes of a value: "quantize", "dequantize", or "" where all read what was written."""
    if all(reads_float == writes_float for reads_float in read_floats):
        return ""
    return "quantize" if writes_float else "dequantize"
