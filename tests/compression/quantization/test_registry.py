"""A quantizer of another package is found by its name, and rounds candidates and results."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import EntryPoint

import pytest
from compressed import images_for
from small import MAP, Plain, seeded
from torch import Tensor

from automl.compression.compressor import Compressor
from automl.compression.config import CompressionConfig
from automl.compression.quantization.codebook import Codebook
from automl.compression.quantization.nearest import Nearest
from automl.compression.quantization.qparams import QParams
from automl.compression.quantization.registry import QUANTIZERS
from automl.compression.quantization.simulation import QuantizedModel
from automl.methods import registry
from automl.network.traced_model import trace_network
from automl.policy.policy import Bits, Policy


@dataclass(frozen=True)
class Coarser(Nearest):
    """One bit less than asked for."""

    def round(
        self, weights: Tensor, moments: Tensor, bits: Bits, *, refine: bool = True
    ) -> tuple[Tensor, QParams | Codebook]:
        fewer = Bits(bits.weights - 1, bits.activations)
        return super().round(weights, moments, fewer)


def test_the_registry_is_found_by_its_kind() -> None:
    assert registry("quantizers") is QUANTIZERS
    assert QUANTIZERS.names()[:2] == ("second-order", "nearest")


@pytest.mark.parametrize("finish", [False, True])
def test_another_packages_quantizer_rounds(monkeypatch: pytest.MonkeyPatch, finish: bool) -> None:
    point = EntryPoint("coarser", f"{__name__}:Coarser", "automl.quantizers")
    monkeypatch.setattr(QUANTIZERS, "_added", {"coarser": point})
    traced = trace_network(seeded(Plain), MAP, resolutions=())
    config = CompressionConfig(quantization="coarser")
    made = Compressor(traced, images_for(MAP, 8), {}, config=config, scheme="qdq-u8s8")
    model = made.make(Policy(bits={"second": Bits(5, 8)}), finish=finish)
    assert isinstance(model, QuantizedModel)
    assert model.weights["second"].bits == 4
