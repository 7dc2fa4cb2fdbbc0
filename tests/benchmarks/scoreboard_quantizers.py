"""Rows of the scoreboard: weights with one scale a layer, and channels scaled alike before."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from scored import USUAL, Bench, Check, Figures, Row, logits
from torch import Tensor

from automl.compression import Compressor, RefitSettings
from automl.compression.quantization.equalising import layer_pairs
from automl.example.data import loaders
from automl.example.model import pretrained
from automl.network import TracedModel, trace_network
from automl.policy import Bits, Policy

SETTINGS = RefitSettings(images=512, rows=12_000)
#: Deviation of the logarithms of factors between layers: channels differ by tens.
UNEVEN = 1.0


def scaled_badly(traced: TracedModel, seed: int) -> TracedModel:
    """The same function; a channel between two layers is multiplied, what reads it divided."""
    model, generator = copy.deepcopy(traced.model), torch.Generator().manual_seed(seed)
    layers: dict[str, Any] = dict(model.named_modules())
    for pair in layer_pairs(traced):
        first, second = layers[pair.first], layers[pair.second]
        channels = len(first.weight)
        factors = torch.exp(UNEVEN * torch.randn(channels, generator=generator))
        first.weight.mul_(factors.view(-1, 1, 1, 1))
        first.bias.mul_(factors)
        outputs = len(second.weight)
        of_groups = factors.view(second.groups, 1, -1).expand(-1, outputs // second.groups, -1)
        second.weight.div_(of_groups.reshape(outputs, -1, 1, 1))
    return replace(traced, model=model)


def error(traced: TracedModel, images: Tensor, held_out: Tensor, equalise: str) -> float:
    """Of held-out logits at w8a8 with one scale a layer, relative to their variance."""
    config = replace(USUAL, quantization=f"per-tensor:equalise={equalise}")
    compressor = Compressor(traced, images, {}, config=config, scheme="qdq-u8s8-tensor")
    bits = dict.fromkeys(compressor.joint.flow.layers, Bits(8, 8))
    made = compressor.make(Policy(bits=bits), settings=SETTINGS)
    dense = logits(traced.model, held_out)
    return float((logits(made, held_out) - dense).square().mean() / dense.var(0).mean())


def equalisation(bench: Bench) -> Figures:
    """The network and the shipped classifier, which has depthwise layers; as trained and uneven."""
    calibration, validation, _ = loaders()
    shipped = trace_network(pretrained(), tuple(calibration.inputs[:1].shape), resolutions=())
    networks = {
        "": (bench.traced, bench.images, bench.held_out),
        "depthwise ": (shipped, calibration.inputs, validation.inputs[:500]),
    }
    figures: dict[str, float] = {}
    for name, (traced, images, held_out) in networks.items():
        uneven = scaled_badly(traced, bench.seed)
        for kind, each in (("trained", traced), ("uneven", uneven)):
            before, after = (error(each, images, held_out, on) for on in ("false", "true"))
            figures |= {f"{name}{kind}": before, f"{name}{kind} ratio": after / before}
    return figures


ROWS = (
    Row(
        "equalisation",
        "quantizers/per-tensor",
        "w8a8, one scale a layer: a tenth of the error where channels are uneven, else no worse",
        equalisation,
        (
            Check("trained ratio", at_most=1.0),
            Check("uneven ratio", at_most=0.1),
            Check("depthwise trained ratio", at_most=1.0),
            Check("depthwise uneven ratio", at_most=0.1),
        ),
        seeds=(0,),
    ),
)
