"""A network of residual blocks, rounded, for the tests of what is learned block by block."""

from __future__ import annotations

import torch
from compressed import images_for, outputs_of
from small import MAP, Shortcuts, seeded

from automl.compression.compressor import Compressor
from automl.compression.config import CompressionConfig
from automl.compression.quantization.simulation import QuantizedModel
from automl.compression.reconstruction.rounding_units import UnitValues
from automl.network.traced_model import trace_network
from automl.policy.policy import Bits, Policy

BLOCKS = ("same", "same2", "before", "after")
LAYERS = ["stem", "head", *(f"{block}.{name}" for block in BLOCKS for name in ("inner", "outer"))]


def made(reconstruction: str) -> Compressor:
    traced = trace_network(seeded(Shortcuts), MAP, resolutions=())
    config = CompressionConfig(reconstruction=reconstruction)
    return Compressor(traced, images_for(MAP, 64), {}, config=config, scheme="qdq-u8s8")


def rounded(reconstruction: str, bits: Bits) -> tuple[Compressor, QuantizedModel]:
    compressor = made(reconstruction)
    model = compressor.make(Policy(bits=dict.fromkeys(LAYERS, bits)))
    assert isinstance(model, QuantizedModel)
    return compressor, model


def values_of(compressor: Compressor, model: QuantizedModel, name: str) -> UnitValues:
    """Of a block that reads what the dense network gives it."""
    dense, seen = compressor.traced.model, list[torch.Tensor]()
    handle = dense.get_submodule(name).register_forward_hook(
        lambda _, given, output: seen.extend((given[0].clone(), output.clone()))
    )
    outputs_of(dense, compressor.images)
    handle.remove()
    return UnitValues(name, *seen)
