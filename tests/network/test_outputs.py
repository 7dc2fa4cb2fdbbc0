"""What a network gives, of any nest, by name and as rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch

from automl.network.outputs import (
    column_scales,
    judged_tensors,
    named_tensors,
    output_rows,
    output_tensors,
)

Tensor = torch.Tensor


@dataclass
class Found:
    logits: Tensor
    loss: None = None


class Boxes(NamedTuple):
    corners: Tensor
    kinds: Tensor


def nest(inputs: int = 4) -> dict[str, object]:
    values = torch.arange(inputs * 6.0)
    return {
        "found": Found(values[: inputs * 2].view(inputs, 2)),
        "maps": [values.view(inputs, 3, 2), Boxes(values[:inputs], torch.zeros(inputs).long())],
        "anchors": torch.zeros(inputs + 3),
        "count": 3,
    }


def test_tensors_are_named_by_where_they_stand() -> None:
    names = ["found.logits", "maps.0", "maps.1.corners", "maps.1.kinds", "anchors"]
    assert [name for name, _ in named_tensors(nest())] == names
    assert len(output_tensors(nest())) == 5
    assert [name for name, _ in named_tensors(torch.zeros(2))] == ["output"]
    assert list(named_tensors((None, 3, "text"))) == []


def test_rows_are_of_floats_with_a_part_an_input() -> None:
    assert list(judged_tensors(nest(), 4)) == ["found.logits", "maps.0", "maps.1.corners"]
    rows = output_rows(nest(), 4)
    assert rows.shape == (4, 2 + 6 + 1)
    assert rows[1].tolist() == [2, 3, 6, 7, 8, 9, 10, 11, 1]


def test_each_tensor_counts_alike_whatever_its_scale_and_size() -> None:
    small, large = torch.randn(50, 2), 1e4 * torch.randn(50, 30)
    both = {"small": small, "large": large}
    scales = column_scales(both, 50)
    errors = torch.zeros(50, 32)
    errors[:, :2] = 0.1 * small.std(0)
    of_small = float((errors.square() / scales).mean())
    errors = torch.zeros(50, 32)
    errors[:, 2:] = 0.1 * large.std(0)
    assert of_small == pytest.approx(float((errors.square() / scales).mean()), rel=1e-4)
    alone = column_scales(small, 50)
    assert alone.tolist() == pytest.approx([float(small.var(0).mean())] * 2)
    assert column_scales(small[:1], 1).tolist() == [1.0, 1.0]
