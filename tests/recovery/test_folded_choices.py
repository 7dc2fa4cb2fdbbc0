"""What hooks choose first goes by weights with norms folded, though norms were put back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from recoverable import batches, pair
from torch import Tensor, nn

from automl.network import trace_network, with_norms
from automl.recovery.base import HookPlan, Moment
from automl.recovery.channels import chosen, find_channels
from automl.recovery.hooks.registry import HOOKS
from automl.recovery.layer_weights import FoldedWeights, largest, layer_weights

LATE = Moment(0, 0.97, 0.01)


def networks() -> tuple[nn.Module, nn.Module]:
    """A network with norms folded, and the same with norms put back."""
    model = pair()[1]
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                size = torch.linspace(0.2, 3, len(module.weight))
                module.weight.copy_(size[torch.randperm(len(size), generator=drawing())])
    folded = trace_network(model, (1, 3, 8, 8), resolutions=()).model
    return folded, with_norms(folded, [inputs for inputs, _ in batches()])


def drawing() -> torch.Generator:
    return torch.Generator().manual_seed(4)


def begun(name: str, student: nn.Module) -> Any:
    hook = HOOKS.build(name)
    hook.start(student, HookPlan(batches()[0][0]))
    hook.before_batch(student, LATE)
    return hook


def test_weights_are_those_of_the_folded_network() -> None:
    folded, student = networks()
    plain, found = layer_weights(folded), FoldedWeights(student, batches()[0][0])
    raw = layer_weights(student)
    for name, weight in raw.items():
        torch.testing.assert_close(found(name, weight), plain[name].detach(), rtol=1e-4, atol=1e-6)
    normed = raw["blocks.0.conv1.weight"].detach().flatten(1).norm(dim=1)
    assert normed.std() < 1e-4 * normed.mean()  # chosen by these it would be chance


@pytest.mark.parametrize("layer", [nn.ConvTranspose2d(6, 4, 2, groups=2), nn.Linear(6, 4)])
def test_outputs_of_other_layers_have_their_factors(layer: Any) -> None:
    norm: Any = nn.BatchNorm2d(4) if layer.weight.dim() == 4 else nn.BatchNorm1d(4)
    model = nn.Sequential(layer, norm).eval()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    inputs = torch.randn(2, 6, *(3,) * (layer.weight.dim() - 2))
    folded = trace_network(model, (1, *inputs.shape[1:]), resolutions=()).model
    found = FoldedWeights(model, inputs)("0.weight", layer.weight)
    torch.testing.assert_close(found, folded.get_parameter("0.weight"))


@pytest.mark.parametrize("name", ["soft-mask", "zero-out"])
def test_channels_are_chosen_by_folded_filters(name: str) -> None:
    folded, student = networks()
    gone = begun(f"{name}:share=0.5", student).state()["gone"]
    groups = find_channels(folded, batches()[0][0])
    wanted = [chosen(group.length(folded), 0.5) for group in groups]
    assert [each.tolist() for each in gone] == [each.tolist() for each in wanted]


def test_clusters_are_of_folded_filters() -> None:
    folded, student = networks()
    found, wanted = (begun("centripetal", each).state()["clusters"] for each in (student, folded))
    assert [each.tolist() for each in found] == [each.tolist() for each in wanted]


@pytest.mark.parametrize("name", ["iht", "surgery", "admm"])
def test_single_weights_are_chosen_by_folded_magnitudes(name: str) -> None:
    (folded, student), (_, raw) = networks(), networks()
    kept: dict[str, Tensor] = begun(f"{name}:share=0.6", student).state()["kept"]
    for key, weight in layer_weights(folded).items():
        assert torch.equal(kept[key], largest(weight, 0.6)), key
    assert any(not torch.equal(kept[n], largest(w, 0.6)) for n, w in layer_weights(raw).items())


def test_the_largest_folded_weights_are_frozen_first() -> None:
    folded, student = networks()
    hook = HOOKS.build("freeze-progressive")
    hook.start(student, HookPlan(batches()[0][0]))
    hook.before_batch(student, Moment(0, 0.0, 0.01))
    frozen: dict[str, Tensor] = hook.state()["frozen"]
    for key, weight in layer_weights(folded).items():
        assert torch.equal(frozen[key], largest(weight, 0.5)), key
