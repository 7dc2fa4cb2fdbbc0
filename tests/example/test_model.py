"""The shipped network: its weights fit, and it scores what its documentation says."""

from __future__ import annotations

import json

import pytest
import torch

from automl.example.data import loaders
from automl.example.model import WEIGHTS, Residual, network, pretrained

FOLDER = WEIGHTS.parent
DOCUMENTED = json.loads((FOLDER / "training.json").read_text())["accuracy"]


def test_shipped_weights_fit_strictly() -> None:
    weights = torch.load(WEIGHTS, weights_only=True)
    network().load_state_dict(weights, strict=True)
    assert all(torch.isfinite(value).all() for value in weights.values())


@torch.inference_mode()
def test_accuracy_on_the_shipped_test_images_is_the_documented_one() -> None:
    model, (_, _, test) = pretrained(), loaders()
    right = sum(int((model(inputs).argmax(1) == targets).sum()) for inputs, targets in test)
    # one image of 3,000 may fall to the other side where a processor rounds differently
    assert right / len(test.targets) == pytest.approx(DOCUMENTED["test_shipped"], abs=1.5 / 3_000)


def test_readme_states_the_accuracies_of_the_training_run() -> None:
    readme = (FOLDER / "README.md").read_text()
    for share in DOCUMENTED.values():
        assert f"{100 * share:.2f} %" in readme


def test_widths_are_multiples_of_16() -> None:
    convolutions = [part for part in network().modules() if isinstance(part, torch.nn.Conv2d)]
    assert len(convolutions) > 20
    assert {part.out_channels % 16 for part in convolutions} == {0}


def test_every_stage_has_blocks_that_can_be_left_out() -> None:
    for stage in ("stage1", "stage2", "stage3"):
        blocks = list(network().get_submodule(stage).children())
        kept_shape = [
            isinstance(block, Residual) and isinstance(block.shortcut, torch.nn.Identity)
            for block in blocks
        ]
        assert kept_shape == [False] + [True] * (len(blocks) - 1)
        assert len(blocks) >= 3


@pytest.mark.parametrize("size", [16, 20, 24, 28, 32])
def test_the_input_size_may_change(size: int) -> None:
    assert pretrained()(torch.zeros(2, 1, size, size)).shape == (2, 10)
