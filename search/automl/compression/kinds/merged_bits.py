"""What the bits of a merged layer do to the network's outputs, beyond the merge itself."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from automl.compression.database import read_patch, write_patch
from automl.compression.quantization.joint_database import JointDatabase
from automl.compression.quantization.simulation import Plan, QuantizedModel, make_plan
from automl.network import FLOAT_BITS, Chain, Flow, merged_trace
from automl.policy import Bits, holds_identity

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
        self._ending = {each.chain for each in rounded.database.network.merges if each.addition}
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
        adding = [chain] if self.adds(chain, bits) else []
        flow = Flow(merged_trace(self._rounded.flow.trace, self._model, [chain], adding))
        return make_plan(flow, {chain[-1]: bits}, self._rounded.scheme)

    def adds(self, chain: Chain, bits: Bits) -> bool:
        """Whether the one layer in these bits adds what it reads itself."""
        return chain in self._ending and holds_identity(bits)

    def beyond(
        self, chain: Chain, moments: Tensor, made: Callable[[bool], AbstractContextManager[None]]
    ) -> Floats:
        """What each option does beyond the last one, to a network in which the merge is made.

        Args:
            chain: What is merged.
            moments: Mean second moments of what the one layer reads.
            made: Makes the merge in the bench's model, given whether the one layer adds what it
                reads itself, and restores it.

        Returns:
            [options], the last 0.
        """
        found, done = list[float](), dict[tuple[Bits, bool], tuple[Tensor, Tensor]]()
        for bits, plan in self._plans[chain].items():
            key = self._rounded.stored_as(bits), self.adds(chain, bits)
            with made(key[1]):
                module: Any = self._model.get_submodule(chain[-1])
                if bits.weights < FLOAT_BITS:
                    if key not in done:
                        each = self._rounded.round_matrix(*read_patch(module), moments, key[0])
                        done[key] = each.values, each.bias
                    write_patch(module, done[key])
                model = self._model
                if plan.inputs:
                    model = QuantizedModel(model, plan, self._qparams, {})
                found.append(self._change(model))
        return np.array(found) - found[-1]
