"""Every network of the zoo, read once a session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import zoo
import zoo_tokens
from torch import nn
from torch.utils._pytree import tree_leaves

from automl.network.traced_model import TracedModel, trace_network

MAPS, LARGE = (1, 3, 16, 16), (1, 3, 32, 32)
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "chain": (zoo.Chain, MAPS),
    "residual": (zoo.Residual, MAPS),
    "padded residual": (lambda: zoo.Residual(padded=True), MAPS),
    "pre-activation": (zoo.PreActivation, MAPS),
    "bottleneck": (zoo.Bottleneck, LARGE),
    "grouped": (lambda: zoo.Bottleneck(groups=4), LARGE),
    "inverted": (zoo.Inverted, LARGE),
    "dense": (zoo.Dense, MAPS),
    "inception": (zoo.Inception, MAPS),
    "shuffle v1": (zoo.ShuffleV1, LARGE),
    "shuffle v2": (zoo.ShuffleV2, LARGE),
    "ghost attention": (zoo.GhostAttention, LARGE),
    "odd ghosts": (lambda: zoo.GhostAttention(15), LARGE),
    "unet": (zoo.UNet, MAPS),
    "linears": (zoo.Linears, (1, 20)),
    "transformer": (zoo_tokens.Transformer, MAPS),
    "encoder": (zoo_tokens.Encoder, MAPS),
    "self-attention": (zoo_tokens.SelfAttention, (1, 6, 12)),
    "layer scale": (zoo_tokens.LayerScale, LARGE),
    "shared": (zoo_tokens.Shared, MAPS),
    "functional": (zoo_tokens.Functional, MAPS),
    "overridden": (zoo_tokens.Overridden, LARGE),
    "mixture": (zoo_tokens.Mixture, MAPS),
    "tuple": (lambda: zoo_tokens.Mixture(named=False), MAPS),
    "pixels": (zoo_tokens.Pixels, MAPS),
}


@dataclass(frozen=True)
class Specimen:
    """A network of the zoo and what was read from it."""

    name: str
    model: nn.Module
    example: torch.Tensor
    traced: TracedModel


def build(name: str) -> tuple[nn.Module, torch.Tensor]:
    """The network with random weights, statistics and affine parameters, and an input for it."""
    factory, shape = NETWORKS[name]
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = factory().eval()
        with torch.no_grad():
            for module in model.modules():
                if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                    for value in (module.running_mean, module.bias):
                        assert value is not None
                        value.uniform_(-0.3, 0.3)
                    for value in (module.running_var, module.weight):
                        assert value is not None
                        value.uniform_(0.5, 1.5)
        return model, torch.randn(shape)


_READ: dict[str, Specimen] = {}


def specimen(name: str) -> Specimen:
    """A network of the zoo, read once."""
    if name not in _READ:
        model, example = build(name)
        _READ[name] = Specimen(name, model, example, trace_network(model, example.shape))
    return _READ[name]


def outputs(model: nn.Module, example: torch.Tensor) -> list[torch.Tensor]:
    """All tensors that a model gives."""
    with torch.no_grad():
        return tree_leaves(model(example))
