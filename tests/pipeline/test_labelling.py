"""Targets of the data as labels, where they are some."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from automl.compression import Labelled
from automl.pipeline.labelling import labelled
from automl.userdata import Batches, tensor_of_targets
from automl.userdata.inputs import Coded

INPUTS = torch.randn(2, 3, 4, 4)


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (torch.tensor([1, 0]), torch.tensor([1, 0])),
        ([3, 2], torch.tensor([3, 2])),
        (torch.tensor([[1], [0]]), torch.tensor([1, 0])),
        (INPUTS + 1, INPUTS + 1),
        (None, None),
        ({"boxes": 3}, None),
        (torch.randn(2, 5), None),
    ],
)
def test_classes_and_pictures_are_labels(targets: Any, expected: torch.Tensor | None) -> None:
    found = labelled(Batches(((INPUTS, targets), (INPUTS, targets))))
    if expected is None:
        assert not isinstance(found, Labelled)
        return
    assert isinstance(found, Labelled)
    assert torch.equal(found.targets, torch.cat([expected, expected]))
    assert len(found.images) == 4


def test_targets_of_several_forms_are_none() -> None:
    pairs = ((INPUTS, torch.tensor([0, 1])), (INPUTS, INPUTS))
    assert not isinstance(labelled(Batches(pairs)), Labelled)


def test_inputs_are_not_decoded_for_their_labels() -> None:
    class Locked(Coded):
        def __getitem__(self, here: object) -> torch.Tensor:
            raise AssertionError("decoded")

    codes = Locked(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(3, 256))
    found = tensor_of_targets(Batches(((codes, torch.tensor([1, 0])),)))
    assert found is not None
    assert found.tolist() == [1, 0]
