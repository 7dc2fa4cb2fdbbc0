"""The contract of reconstructions finds out what does not hold to it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from automl.compression.quantization.base import Quantizer
from automl.compression.quantization.simulation import QuantizedModel
from automl.compression.reconstruction.base import FULL_REFIT, Candidate, RefitSettings
from automl.compression.reconstruction.least_squares import LeastSquares
from automl.compression.reconstruction.registry import RECONSTRUCTIONS
from automl.methods import Method
from automl.testing.reconstructions import ReconstructionContract


class Shrinking(LeastSquares):
    """Halves the weights of the head, and of the dense network with them."""

    def finish(
        self, candidate: Candidate, quantizer: Quantizer, settings: RefitSettings = FULL_REFIT
    ) -> nn.Module:
        made = super().finish(candidate, quantizer, settings)
        network = made.network if isinstance(made, QuantizedModel) else made
        with torch.no_grad():
            network.get_submodule("head").weight.mul_(0.5)  # type: ignore[operator]
            for target in candidate.features.targets.values():
                target.mul_(0.5)
        return made


class Contract(ReconstructionContract):
    name = "shrinking"


@pytest.fixture(autouse=True)
def _shrinking(monkeypatch: pytest.MonkeyPatch) -> None:
    method = Method("shrinking", "Halves.", "nobody, 2026", f"{__name__}:Shrinking")
    monkeypatch.setitem(RECONSTRUCTIONS._ours, "shrinking", method)


@pytest.mark.parametrize(
    "promise",
    [
        "test_a_candidate_that_is_right_is_left_as_it_is",
        "test_less_is_lost_than_without_it",
        "test_the_dense_network_stays_as_it_is",
    ],
)
def test_what_breaks_a_promise_is_found_out(promise: str) -> None:
    with pytest.raises(AssertionError):
        getattr(Contract(), promise)()
