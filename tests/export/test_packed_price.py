"""What a search pays for a policy's size is what the packed file of its network takes."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from automl.compression.layer_matrix import matrix
from automl.compression.quantization.codebook import codebook
from automl.compression.quantization.qparams import round_to, weight_qparams
from automl.cost import build_cost_model
from automl.export.packed import IntegerWeights, SharedWeights, Stored, write_packed
from automl.network.traced_model import trace_network
from automl.policy.policy import Bits, Policy
from automl.policy.precisions import is_weight_only
from automl.space import build_space


def network() -> nn.Module:
    """A convolution, a grouped, a depthwise and a strided one, and a head."""
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(3, 12, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(12, 8, 3, padding=1, groups=4), nn.ReLU()),
        *(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU()),
        *(nn.Conv2d(8, 10, 3, stride=2), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(10, 5)),
    ).eval()


def stored(model: nn.Module, bits: dict[str, Bits]) -> dict[str, Stored]:
    """A network's state with each layer's weights rounded to its bits."""
    result: dict[str, Stored] = dict(model.state_dict())
    for name, chosen in bits.items():
        module = model.get_submodule(name)
        weights, shape = matrix(module), result[f"{name}.weight"].shape  # type: ignore[union-attr]
        if is_weight_only(chosen):
            book = codebook(weights, chosen.weights)
            shared = SharedWeights(book.entries, book.indices.view(shape), chosen.weights)
            result[f"{name}.weight"] = shared
        elif chosen.weights < 16:
            qparams = weight_qparams(weights, chosen.weights)
            integers = round_to(weights, qparams).view(shape)
            scale = qparams.scale.flatten()
            result[f"{name}.weight"] = IntegerWeights(integers, scale, chosen.weights)
    return result


def test_a_policy_weighs_what_it_was_promised_to(tmp_path: Path) -> None:
    traced = trace_network(network(), (1, 3, 8, 8), resolutions=())
    space = build_space(
        traced.network, precisions=(Bits(8, 8), Bits()), weight_only=(1, 3, 4, 8), resolutions=()
    )
    names = [variable.name for variable in space.variables if variable.kind == "bits"]
    assert len(names) == 5
    costs = build_cost_model(traced.network, space, None)
    several = [Bits(3, 32), Bits(8, 8), Bits(), Bits(8, 32), Bits(1, 32), Bits(4, 32)]
    for turn in range(len(several)):
        chosen = {name: several[(i + turn) % len(several)] for i, name in enumerate(names)}
        size = write_packed(tmp_path / "w", stored(traced.model, chosen))
        data = (tmp_path / "w").read_bytes()
        header = 16 + int.from_bytes(data[12:16], "little")
        assert size - header == costs.cost(Policy(bits=chosen)).bytes
