"""Networks whose layers become one, read and searched with bits."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import onnx
import torch
from merging_networks import Chain
from torch import Tensor

from automl.compression import CompressionConfig, Compressor
from automl.network import TracedModel, trace_network
from automl.policy import Precisions
from automl.space import Space, SpaceSettings, open_space
from automl.testing.networks import SHAPE, compressor_of, drawn
from bits_networks import Residual

TARGET: Final = Precisions(("fp32", "int8"))
#: Three layers as one, and an inverted residual as one.
ALL: Final = {"merge": dict.fromkeys(("a", "b", "body.expand"), "merged")}
#: The inverted residual alone.
BODY: Final = {"merge": {"body.expand": "merged"}}
#: Those that are left, by the names that their bits have.
LAYERS: Final = ("c", "body.project", "head")


@cache
def chain() -> TracedModel:
    return trace_network(drawn(Chain, 0).eval(), SHAPE, resolutions=())


@cache
def residual() -> TracedModel:
    return trace_network(drawn(Residual, 0).eval(), (1, 3, 8, 8), resolutions=())


def space_of(read: TracedModel, **settings: Any) -> Space:
    """Blocks, bits and merges; no channels unless they are asked for."""
    settings = {"round_to": 64, "precisions": TARGET.bits} | settings
    return open_space(read.network, SpaceSettings(kinds=("merge",), **settings))


def made(scheme: str | None = None, **config: Any) -> Compressor:
    return compressor_of(chain(), CompressionConfig(**config), scheme=scheme)


def kinds(content: bytes) -> dict[str, int]:
    """How many operators of each kind an ONNX file has."""
    names = [each.op_type for each in onnx.load_from_string(content).graph.node]
    return {name: names.count(name) for name in names}


def inputs(count: int, seed: int) -> Tensor:
    return torch.randn((count, *SHAPE[1:]), generator=torch.Generator().manual_seed(seed))
