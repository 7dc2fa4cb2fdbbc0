"""Batches in memory: their first ones, and what they say of themselves."""

from __future__ import annotations

import torch
from counted_batches import batches

from automl.userdata.data import Batches, Data
from automl.userdata.reading import read_batches


def test_head_keeps_the_first_and_says_that_there_was_more() -> None:
    kept = read_batches(batches((4, 4)), "validation", 100)
    assert kept.head(6).images == 6
    assert not kept.head(6).whole
    assert kept.head(8).whole
    assert kept.head(99).images == 8


def test_targets_of_any_form_are_cut_like_the_inputs() -> None:
    inputs = torch.zeros(4, 3, 2, 2)
    targets = {"boxes": torch.arange(8).reshape(4, 2), "names": list("abcd"), "scale": 0.5}
    ((_, kept),) = Batches(((inputs, targets),)).head(2)
    assert kept["boxes"].tolist() == [[0, 1], [2, 3]]
    assert (kept["names"], kept["scale"]) == (["a", "b"], 0.5)


def test_data_knows_its_input_shape() -> None:
    kept = read_batches(batches((2,)), "validation", 10)
    assert Data(kept, kept).input_shape == (1, 3, 4, 4)
