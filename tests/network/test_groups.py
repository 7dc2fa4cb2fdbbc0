"""Our couplings against torch-pruning's dependency graph, on the structures where it is right."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from specimens import build, specimen
from torch import nn

from automl.network.traced_model import TracedModel

Coupling = frozenset[tuple[str, str]]
LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def found_by_torch_pruning(model: nn.Module, example: torch.Tensor) -> set[Coupling]:
    """Per group of its graph, the layers that write and read the coupled channels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch_pruning

        graph = torch_pruning.DependencyGraph().build_dependency(model, example_inputs=example)
    names = {module: name for name, module in model.named_modules()}
    result = set()
    for group in graph.get_all_groups(root_module_types=list(LAYERS)):
        sides = set()
        for dependency, _ in group:
            module: Any = dependency.target.module
            depthwise = getattr(module, "groups", 1) > 1 and module.groups == module.in_channels
            if isinstance(module, LAYERS) and not depthwise:
                written = graph.is_out_channel_pruning_fn(dependency.handler)
                sides.add((names[module], "out" if written else "in"))
        result.add(frozenset(sides))
    return {sides for sides in result if {side for _, side in sides} == {"in", "out"}}


def found_by_us(traced: TracedModel) -> set[Coupling]:
    """The same of ours."""
    return {
        frozenset(
            (side.module, side.side)
            for side in (*group.producers, *group.consumers)
            if side.side != "through"
        )
        for group in traced.network.groups
    }


CONVOLUTIONS = "chain, residual, pre-activation, bottleneck, grouped, inverted"
OTHERS = "dense, inception, unet, linears"


@pytest.mark.parametrize("name", f"{CONVOLUTIONS}, {OTHERS}".split(", "))
def test_couplings_are_those_of_torch_pruning(name: str) -> None:
    model, example = build(name)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    assert found_by_us(specimen(name).traced) == found_by_torch_pruning(model, example)


def test_mlp_of_a_transformer_is_coupled_as_by_torch_pruning() -> None:
    model, example = build("transformer")
    ours = found_by_us(specimen("transformer").traced)
    inner = {each for each in ours if all(".mlp." in module for module, _ in each)}
    assert len(inner) == 2
    assert inner <= found_by_torch_pruning(model, example)


def test_padding_lets_the_copied_channels_of_all_stages_go_together() -> None:
    groups = specimen("padded residual").traced.network.groups
    stream = next(group for group in groups if group.name == "stem.0")
    last = next(s for s in stream.producers if s.module == "stage2.1.second.0")
    assert [place for (place,) in last.positions] == list(range(4, 12))


def test_runs_of_a_grouped_convolution_stay_equal() -> None:
    groups = specimen("grouped").traced.network.groups
    inner = next(group for group in groups if group.name == "blocks.0.reduce.0")
    assert inner.channels == 2
    assert inner.producers[0].positions == ((0, 2, 4, 6), (1, 3, 5, 7))


@pytest.mark.parametrize(("name", "pairs"), [("ghost attention", 8), ("odd ghosts", 7)])
def test_a_map_goes_with_its_cheap_copy_and_with_the_gates_of_both(name: str, pairs: int) -> None:
    """GhostNetV2's are open whole; the map whose copy is sliced off has no pair, and stays."""
    network = specimen(name).traced.network
    found = {group.name: group.channels for group in network.groups}
    assert found == {"stem.0": 8, "first.gate.0.0": pairs, "second.gate.0.0": 6, "last.0": 24}
    assert not network.unprunable
    (group,) = (each for each in network.groups if each.name == "first.gate.0.0")
    wrote = {side.module: side.positions for side in group.producers}
    half = 8
    assert wrote["first.primary.0"] == tuple((place,) for place in range(pairs))
    assert wrote["first.gate.0.0"] == tuple((place, half + place) for place in range(pairs))
