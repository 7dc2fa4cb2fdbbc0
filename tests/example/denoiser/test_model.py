"""The shipped denoiser: its weights fit, and it denoises as well as its documentation says."""

from __future__ import annotations

import json

import pytest
import torch

from automl.example.denoiser.data import loaders
from automl.example.denoiser.model import BLOCKS, WEIGHTS, DenoisingBlock, network, pretrained
from automl.userdata.scores import psnr

FOLDER = WEIGHTS.parent
DOCUMENTED = json.loads((FOLDER / "training.json").read_text())["decibels"]


def test_shipped_weights_fit_strictly_and_are_small() -> None:
    weights = torch.load(WEIGHTS, weights_only=True)
    network().load_state_dict(weights, strict=True)
    assert {value.dtype for value in weights.values()} == {torch.float16}
    assert all(torch.isfinite(value).all() for value in weights.values())
    assert {value.dtype for value in pretrained().state_dict().values()} == {torch.float32}


def test_quality_on_the_shipped_test_crops_is_the_documented_one() -> None:
    test = loaders()[2]
    assert psnr(pretrained(), test) == pytest.approx(DOCUMENTED["test_crops"], abs=0.005)
    noisy = psnr(torch.nn.Identity(), test)
    assert noisy == pytest.approx(DOCUMENTED["noisy_test_crops"], abs=0.005)


def test_it_is_better_than_filters_without_training() -> None:
    others = [DOCUMENTED[name] for name in ("total_variation", "non_local_means", "wavelets")]
    assert DOCUMENTED["test"] > max(others) + 0.5


def test_readme_states_the_figures_of_the_training_run() -> None:
    readme = (FOLDER / "README.md").read_text()
    for value in DOCUMENTED.values():
        assert f"{value:.2f}" in readme


def test_every_block_keeps_its_shape_and_can_be_left_out() -> None:
    blocks = list(network().get_submodule("body").children())
    assert len(blocks) == BLOCKS
    assert all(isinstance(block, DenoisingBlock) for block in blocks)


@pytest.mark.parametrize("size", [(16, 16), (64, 64), (30, 50)])
def test_frames_of_any_even_size_are_taken(size: tuple[int, int]) -> None:
    frames = torch.rand(2, 3, *size)
    with torch.inference_mode():
        assert pretrained()(frames).shape == frames.shape
