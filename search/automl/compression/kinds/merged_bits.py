"""What the bits of a merged layer do to the network's outputs, beyond the merge itself."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from automl.compression.database import read_patch, write_patch
from automl.compression.quantization.joint_database import JointDatabase
from automl.compression.quantization.simulation import Plan, QuantizedModel, make_plan
from automl.network import FLOAT_BITS, Chain, Flow, merged_trace
from automl.policy import Bits

Floats = NDArray[np.float64]


class MergedBits:
    """Rounds layers that took the place of others, one at a time.

    Ranges of activations are those of the dense network: the one layer writes about what the last
    of the others did.

    Args:
        rounded: What rounds.
        chains: What is merged, with the options of the last layers' bits.
        model: The bench's, in which merges are made.
        change: How much a network's outputs differ from the dense ones.
    """

    def __init__(
        self,
        rounded: JointDatabase,
        chains: Mapping[Chain, Sequence[Bits]],
        model: nn.Module,
        change: Callable[[Callable[[Tensor], Any]], float],
    ) -> None:
        self._rounded, self._model, self._change = rounded, model, change
        self._plans = {
            chain: {bits: self._plan(chain, bits) for bits in options}
            for chain, options in chains.items()
        }
        plans = [plan for each in self._plans.values() for plan in each.values()]
        self._qparams = rounded.dense_qparams(plans)

    @property
    def chains(self) -> Collection[Chain]:
        """What is merged."""
        return self._plans.keys()

    def _plan(self, chain: Chain, bits: Bits) -> Plan:
        flow = Flow(merged_trace(self._rounded.flow.trace, self._model, [chain]))
        return make_plan(flow, {chain[-1]: bits}, self._rounded.scheme)

    def beyond(self, chain: Chain, moments: Tensor) -> Floats:
        """What each option does beyond the last one, to a network in which the merge is made.

        Args:
            chain: What is merged, in the bench's model.
            moments: Mean second moments of what the one layer reads.

        Returns:
            [options], the last 0.
        """
        module: Any = self._model.get_submodule(chain[-1])
        plain = read_patch(module)
        found, done = list[float](), dict[Bits, tuple[Tensor, Tensor]]()
        for bits, plan in self._plans[chain].items():
            patch = plain
            if bits.weights < FLOAT_BITS:
                stored = self._rounded.stored_as(bits)
                if stored not in done:
                    made = self._rounded.round_matrix(*plain, moments, stored)
                    done[stored] = made.values, made.bias
                patch = done[stored]
            write_patch(module, patch)
            model = self._model
            if plan.inputs:
                model = QuantizedModel(model, plan, self._qparams, {})
            found.append(self._change(model))
        return np.array(found) - found[-1]
