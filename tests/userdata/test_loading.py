"""The user's data and score: one clear line for each thing that is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset
from users_file import small

from automl.errors import DataError
from automl.userdata.loading import load_data, load_score, make_data
from automl.userdata.scores import psnr


def test_a_shuffling_loader_gives_the_same_calibration_inputs(user: Path) -> None:
    state = torch.random.get_rng_state()
    first, second = (load_data("mine.py:loaders", 4, seed=1) for _ in range(2))
    other = load_data("mine.py:loaders", 4, seed=2)
    assert torch.equal(first.calibration.inputs, second.calibration.inputs)
    assert not torch.equal(first.calibration.inputs, other.calibration.inputs)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (first.calibration.images, first.validation.images) == (4, 8)
    assert first.test is not None
    assert first.training is not None


def test_training_data_that_can_be_read_once_is_not_kept_for_fine_tuning() -> None:
    batch = (torch.zeros(2, 3, 2, 2), torch.zeros(2))
    data = make_data((iter([batch]), [batch]), 10)
    assert data.training is None
    assert data.calibration.images == 2


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("mine.py:one_part", r"gave a list of 1, expected \(training, validation\)"),
        ("mine.py:number", "mine.py:number is a int, expected a function"),
        ("mine.py:broken", "mine.py:broken failed: OSError"),
        ("mine.py:loader", r"has no 'loader' \(did you mean loaders\?\)"),
    ],
)
def test_data_that_is_not_as_described(user: Path, spec: str, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        load_data(spec, 10)


def test_a_part_may_be_two_arrays() -> None:
    inputs, labels = np.random.default_rng(0).random((70, 3, 4, 4), np.float32), np.arange(70) % 5
    arrays = make_data(((inputs, labels), (torch.from_numpy(inputs), labels[:, None])), 64)
    assert arrays.input_shape == (1, 3, 4, 4)
    given, targets = (torch.cat(each) for each in zip(*arrays.validation, strict=True))
    assert torch.equal(given, torch.from_numpy(inputs))
    assert targets[:5, 0].tolist() == [0, 1, 2, 3, 4]
    two = make_data(([inputs, inputs], [inputs, inputs]), 64)  # batches of inputs alone
    assert [targets for _, targets in two.validation] == [None, None]


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ((torch.zeros(4, 3), torch.zeros(4)), "gave arrays themselves, expected parts"),
        (
            (TensorDataset(torch.zeros(4, 3)), TensorDataset(torch.zeros(4, 3))),
            "is a TensorDataset, not iterable: give a torch.utils.data.DataLoader of it",
        ),
        (TensorDataset(torch.zeros(4, 3)), "gave a TensorDataset, expected"),
    ],
)
def test_what_gives_no_batches_is_refused_with_what_does(parts: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        make_data(parts, 8)


def test_parts_that_differ_in_shape() -> None:
    parts = [(torch.zeros(2, 3, 2, 2), 0)], [(torch.zeros(2, 1, 2, 2), 0)]
    with pytest.raises(DataError, match=r"training inputs of data are \(3, 2, 2\), its validation"):
        make_data(parts, 10)


def test_a_score_of_the_user(user: Path) -> None:
    assert load_score("mine.py:parameters", small())(small(), []) == -62.0


def test_logits_are_compared_with_the_model_as_it_came(user: Path) -> None:
    dense, other, batches = small(), small(), [(torch.randn(4, 3, 2, 2), None)]
    score = load_score("logits", dense)
    assert score(dense, batches) == 0.0
    assert score(other, batches) < 0.0
    assert load_score("psnr", dense) is psnr
    with pytest.raises(DataError, match="score 'logit' is not understood: write logits, psnr, "):
        load_score("logit", dense)
