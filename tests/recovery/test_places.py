"""Where two networks agree, and what they write there."""

from __future__ import annotations

import torch
from recoverable import batches, pair
from torch import nn

from automl.recovery.places import agreeing_places, watching


def test_blocks_agree_whatever_their_inner_widths() -> None:
    teacher, student = pair(inner=4)
    inputs = batches()[0][0]
    assert agreeing_places(student, teacher, inputs, inputs) == ("blocks", "blocks.0")
    assert agreeing_places(student, teacher, inputs, inputs[..., :6, :6]) == ("blocks", "blocks.0")


def test_without_modules_that_hold_others_any_layer_is_a_place() -> None:
    def chain(width: int) -> nn.Module:
        return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, width), nn.Linear(width, 2))

    inputs = torch.zeros(3, 4)
    assert agreeing_places(chain(5), chain(8), inputs, inputs) == ("0", "1")


def test_what_comes_after_a_cut_has_no_gradient_to_what_was_before() -> None:
    _, student = pair()
    student.requires_grad_(True)
    inputs = batches()[0][0]
    with watching(student, ("blocks.0",), cut=True) as found:
        student(inputs).square().sum().backward()
    assert student.stem.weight.grad is None
    found["blocks.0"].square().sum().backward()
    assert student.stem.weight.grad is not None
    with watching(student, ("blocks.0",)) as found:
        pass
    assert not found
