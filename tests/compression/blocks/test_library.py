"""What is trained is nearer to its unit than what it began with, and the same each time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from automl.compression import BLOCKS, Library, block_form
from automl.compression.blocks import library as module
from automl.compression.blocks.building import Built, build
from automl.network import BlockUnit, TracedModel, trace_network, units_of
from automl.testing.networks import drawn, made_images

Tensor = torch.Tensor
SHAPE = (1, 3, 8, 8)
#: A gate that goes has nothing to train.
TRAINED = [name for name in BLOCKS.ours if not block_form(name).opens_gates]


class Block(nn.Module):
    """A stem, a residual branch of two convolutions, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 16, 3, padding=1), nn.Linear(16, 4)
        self.one, self.two = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = F.relu(x + self.two(F.relu(self.one(x))))
        return self.head(x.mean((2, 3)))


@pytest.fixture(scope="module")
def traced() -> TracedModel:
    return trace_network(drawn(Block, 0).eval(), SHAPE, resolutions=())


def unit_of(traced: TracedModel) -> BlockUnit:
    return next(unit for unit in units_of(traced.network) if unit.name == "one")


def first(built: Built) -> Tensor:
    """Weights of its first convolution."""
    return built.convolutions[0].get_parameter("weight")


def error(traced: TracedModel, built: Built) -> float:
    """Of what the unit writes, on inputs that were not trained on, relative to its variance."""
    model = traced.model
    with torch.no_grad():
        entering = F.relu(model.get_submodule("stem")(made_images(64, seed=5)))
        one, two = model.get_submodule("one"), model.get_submodule("two")
        aim = two(F.relu(one(entering)))
        return float((built(entering) - aim).square().mean() / aim.var())


@pytest.mark.parametrize("form", TRAINED)
def test_training_brings_it_nearer_to_its_unit(traced: TracedModel, form: str) -> None:
    unit, library = unit_of(traced), Library(traced, made_images(96), 0)
    begun = build(block_form(form), unit, torch.Generator().manual_seed(0))
    layers = [traced.model.get_submodule(name) for name in unit.chain]
    block_form(form).begin(unit, layers, begun)
    block_form(form).hold(begun)
    assert error(traced, library.made(unit, form)) < 0.8 * error(traced, begun)


def test_it_is_the_same_alone_and_beside_others(
    traced: TracedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a policy's network is made of what the search made, of those that it uses alone."""
    monkeypatch.setattr(module, "STEPS", 4)
    unit, images = unit_of(traced), made_images(40)
    both = Library(traced, images, 3)
    torch.manual_seed(1)
    both.solve([(unit, form) for form in TRAINED])
    torch.manual_seed(2)
    alone = Library(traced, images, 3).made(unit, "fire")
    for one, other in zip(both.made(unit, "fire").convolutions, alone.convolutions, strict=True):
        assert torch.equal(one.get_parameter("weight"), other.get_parameter("weight"))
    other_seed = Library(traced, images, 4).made(unit, "fire")
    assert not torch.equal(first(alone), first(other_seed))


def test_what_is_kept_is_not_trained_again(
    traced: TracedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STEPS", 4)
    unit, images, steps = unit_of(traced), made_images(40), list[int]()

    def keeping(seed: int = 0) -> Library:
        made = Library(traced, images, seed)
        made.keep(tmp_path)
        return made

    begun = keeping()
    begun.solve([(unit, "fire")], lambda done, total: steps.append(done))
    assert steps == [1, 2, 3, 4]
    weights = first(begun.made(unit, "fire"))
    second = keeping()
    second.solve([(unit, "fire")], lambda done, total: pytest.fail("it was trained again"))
    assert torch.equal(first(second.made(unit, "fire")), weights)
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(kept.read_bytes()[:100])  # cut short by a full disk
    third = keeping()
    assert torch.equal(first(third.made(unit, "fire")), weights)
    keeping(1).solve([(unit, "fire")])
    assert len([*tmp_path.iterdir()]) == 2  # another seed is another file
