"""What a layer's bits do to the network's outputs when they are chosen alone, and with channels.

Alone: the dense network with one layer rounded, weights second-order and activations with ranges
found on calibration images. Where a variable offers a grid of weight and activation bits, the two
are measured apart and added (7 + 7 measurements for 49 options; docs/bits.md has the error).

With channels: a layer that reads fewer channels adds up fewer rounding errors. Its sensitivity is
taken to be proportional to the energy of its rounding errors. That energy is computed in the joint
database at three kept counts, for one width of weights, and interpolated in between: the errors of
all widths shrink alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from automl.compression.database import read_patch, write_patch
from automl.compression.quantization.joint_database import JointDatabase, write_rounded
from automl.compression.quantization.simulation import Plan, QuantizedModel, is_rounded
from automl.network import FLOAT_BITS, ResumedPasses
from automl.policy import Bits, Policy
from automl.space import Pairwise, Space, Variable, bit_options, channel_counts

#: Activations beside which weights that are measured apart are integers, not a codebook.
_INTEGER = 8


class BitsSensitivity:
    """Measures what the bits of a space do.

    Args:
        rounded: Rounded weights.
        space: The choices.
        sensitivity_of: The sensitivity of a network.
        model: A copy of the database's model, which is changed and restored.
        passes: Of that model, begun where it is changed; None where each is to be whole.
    """

    def __init__(
        self,
        rounded: JointDatabase,
        space: Space,
        sensitivity_of: Callable[[Callable[[Tensor], Any]], float],
        model: nn.Module,
        passes: ResumedPasses | None = None,
    ) -> None:
        self._rounded, self._space, self._sensitivity_of = rounded, space, sensitivity_of
        self._model, self._passes = model, passes
        self._found: dict[tuple[str, Bits, int], float] = {}
        self._plans: dict[tuple[str, int], Plan] = {}
        #: Per layer and group that it reads, [counts, bits]: what its sensitivity gains.
        self._joint: dict[tuple[str, str], NDArray[np.float64]] = {}
        for position in space.of_kind("bits"):
            variable = space.variables[position]
            for activations in {32, *(bits.activations for bits in bit_options(variable))}:
                plan = rounded.dense_plan({variable.name: Bits(32, activations)})
                self._plans[variable.name, activations] = plan
        self._qparams = rounded.dense_qparams(list(self._plans.values()))

    def row(
        self, variable: Variable, on_option: Callable[[], None] = lambda: None
    ) -> NDArray[np.float64]:
        """Sensitivity of each option beyond that of the dense one, which is last."""
        options = bit_options(variable)
        sensitivities = np.zeros(len(options))
        if len(options) == 1:
            return sensitivities
        apart = _is_grid(options)
        for index, bits in enumerate(options):
            if apart and max(bits.weights, bits.activations) < FLOAT_BITS:
                weights = self._alone(variable.name, bits.weights, 32, _INTEGER)
                sensitivities[index] = weights + self._alone(variable.name, 32, bits.activations)
            else:
                sensitivities[index] = self._alone(variable.name, bits.weights, bits.activations)
            if index < len(options) - 1:
                on_option()
        for group in self._rounded.groups_read(variable.name):
            read = self._space.positions.get(("channels", group))
            if read is not None:  # now, as the moments of what the layer reads are at hand
                change = self._changes(variable, self._space.variables[read])
                self._joint[variable.name, group] = change
        beyond: NDArray[np.float64] = np.maximum(sensitivities - sensitivities[-1], 0.0)
        return beyond

    def pairwise(self, sensitivity: Sequence[NDArray[np.float64]]) -> Pairwise:
        """What bits and the channels that a layer reads do beyond the sum of both.

        Args:
            sensitivity: Per variable of the space, of each option alone.
        """
        tables = []
        for position in self._space.of_kind("bits"):
            layer = self._space.variables[position]
            for group in self._rounded.groups_read(layer.name):
                if (layer.name, group) in self._joint:
                    read = self._space.positions["channels", group]
                    change = self._joint[layer.name, group]
                    tables.append(((read, position), change * sensitivity[position]))
        return tuple(tables)

    def _alone(self, layer: str, weights: int, activations: int, read_with: int = 0) -> float:
        """Sensitivity of one layer's bits; weights are rounded for what they are read with."""
        if not is_rounded(Bits(weights, activations)):
            return 0.0
        key = (layer, Bits(weights, read_with or activations), activations)
        if key not in self._found:
            model, plan = self._model, self._plans[layer, activations]
            with self._written(layer, key[1]):
                rounded = QuantizedModel(model, plan, self._qparams, {}) if plan.inputs else model
                self._found[key] = self._sensitivity_of(self._begun(layer, plan, rounded))
        return self._found[key]

    def _begun(self, layer: str, plan: Plan, made: nn.Module) -> Callable[[Tensor], Any]:
        """Passes of a network in which one layer is rounded, begun where a plan first rounds."""
        if self._passes is None:
            return made
        return self._passes.since((layer,), {*plan.inputs, *plan.rounding.outputs}, made)

    @contextmanager
    def _written(self, layer: str, bits: Bits) -> Iterator[None]:
        if bits.weights >= FLOAT_BITS:
            yield
            return
        module = self._model.get_submodule(layer)
        before = read_patch(module)
        try:
            write_rounded(module, self._rounded.rounded(layer, Policy(), bits), None)
            yield
        finally:
            write_patch(module, before)

    def _changes(self, layer: Variable, group: Variable) -> NDArray[np.float64]:
        """[counts, bits]: what a layer's sensitivity gains where it reads fewer channels."""
        counts = channel_counts(group)
        options = bit_options(layer)
        whole = [bits for bits in options if bits.weights < FLOAT_BITS]
        table = np.zeros((len(counts), len(options)))
        if not whole:
            return table
        some = whole[len(whole) // 2]
        at = sorted({counts[0], counts[len(counts) // 2], counts[-1]})
        made = [self._rounded.loss(layer.name, Policy({group.name: count}), some) for count in at]
        errors, gains = (
            np.interp(counts, at, [each / max(values[-1], 1e-30) for each in values])
            for values in ([one.error for one in made], [one.gain for one in made])
        )
        for index, bits in enumerate(options[:-1]):
            if bits.weights < FLOAT_BITS:
                dense = self._rounded.loss(layer.name, Policy(), bits)
                read = dense.gain * self._square_step(layer.name, bits)
                total = max(dense.error + read, 1e-30)
                table[:, index] = (errors * dense.error + gains * read) / total - 1
        table[-1] = 0.0
        return table

    def _square_step(self, layer: str, bits: Bits) -> float:
        """Mean squared rounding error of what a layer reads."""
        sources = self._plans[layer, bits.activations].inputs.get((layer, 0), ())
        steps = [self._qparams[source].scale for source in sources if source]
        return sum(step * step for step in steps) / 12


def _is_grid(options: Sequence[Bits]) -> bool:
    """Whether measuring weights and activations apart takes fewer measurements."""
    both = [bits for bits in options if max(bits.weights, bits.activations) < FLOAT_BITS]
    apart = {bits.weights for bits in both}, {bits.activations for bits in both}
    return len(both) > sum(map(len, apart))
