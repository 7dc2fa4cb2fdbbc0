"""Candidates whose channels were cut with nothing made good: what a reconstruction starts from."""

from __future__ import annotations

import copy

from torch import Tensor

from automl.compression.compressor import Compressor
from automl.compression.quantization.simulation import make_plan
from automl.compression.reconstruction.base import Candidate, Dense, Read
from automl.network.precision import Flow
from automl.network.surgery import cut
from automl.policy.policy import Policy


def uncompensated(made: Compressor, kept: dict[str, Tensor]) -> Candidate:
    """A candidate with the channels of some groups cut."""
    network, dense = made.traced.network, made.traced.model
    model = copy.deepcopy(dense)
    places = cut(model, network.groups, kept)
    outputs = {name: here for (name, side), here in places.items() if side == "out"}

    def read(layer: str) -> Read:
        # counts alone are a policy's: which channels stay is what the places say
        moments = made.joint.moments_of(layer)
        runs, columns = made.joint.columns_read(layer, Policy())
        if (layer, "in") in places:
            stay = places[layer, "in"]
            taps = columns.shape[1] // dense.get_submodule(layer).weight.shape[1]  # type: ignore[operator]
            columns = (stay.unsqueeze(1) * taps + columns.new_tensor(range(taps))).view(1, -1)
        return Read(moments[runs], columns)

    plan = make_plan(Flow(made.traced.trace), {}, None)
    features = made.features(0)
    return Candidate(model, made.traced.trace, features, outputs, plan, dense=Dense(dense, read))
