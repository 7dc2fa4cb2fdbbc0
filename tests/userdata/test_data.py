"""Batches in memory: what is kept, what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from automl.errors import DataError
from automl.userdata import data
from automl.userdata.data import Batches, Data, read_batches


def batches(sizes: tuple[int, ...], side: int = 4) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Batches whose inputs and targets both count up, so that it shows which were kept."""
    result = []
    start = 0
    for size in sizes:
        numbers = torch.arange(start, start + size)
        inputs = numbers.float()[:, None, None, None].expand(size, 3, side, side)
        result.append((inputs.clone(), numbers))
        start += size
    return result


def test_all_is_kept_below_the_limit_and_can_be_read_again() -> None:
    kept = read_batches(iter(batches((4, 4, 2))), "validation", 100)
    assert (len(kept), kept.images, kept.whole, kept.input_shape) == (3, 10, True, (1, 3, 4, 4))
    assert [t.tolist() for _, t in kept] == [t.tolist() for _, t in kept]
    assert kept.inputs.shape == (10, 3, 4, 4)


@pytest.mark.parametrize(("limit", "whole"), [(10, True), (9, False), (8, False), (3, False)])
def test_the_limit_cuts_within_a_batch(limit: int, whole: bool) -> None:
    kept = read_batches(batches((4, 4, 2)), "validation", limit)
    assert kept.images == limit
    assert kept.whole is whole
    assert [int(t) for _, targets in kept for t in targets] == list(range(limit))
    assert kept.inputs[:, 0, 0, 0].tolist() == list(range(limit))


def test_an_endless_loader_is_read_no_further_than_needed() -> None:
    read = 0

    def endless() -> Iterator[Any]:
        nonlocal read
        while True:
            read += 1
            yield batches((4,))[0]

    assert read_batches(endless(), "training", 6).images == 6
    assert read == 2


def test_memory_is_limited_in_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "MAX_BYTES", 5 * 3 * 4 * 4 * 4)
    kept = read_batches(batches((4, 4)), "validation", 100)
    assert (kept.images, kept.whole) == (5, False)


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


@pytest.mark.parametrize(
    ("batch", "reason"),
    [
        (torch.zeros(2, 3), r"batch 0 is a Tensor, expected an \(input, target\) pair"),
        ((torch.zeros(2, 3),), r"is a tuple of 1, expected"),
        (("a", 1), r"has a str as its input"),
        ((torch.zeros(2, 3, dtype=torch.uint8), 0), r"torch.uint8 inputs, expected float"),
        ((torch.full((2, 3), torch.nan), 0), r"NaN or infinite"),
        ((torch.zeros(3), 0), r"shape \(3,\), expected \(batch, ...\)"),
    ],
)
def test_what_is_no_batch_is_refused(batch: Any, reason: str) -> None:
    with pytest.raises(DataError, match=f"validation .*{reason}"):
        read_batches([batch], "validation", 10)


def test_inputs_of_several_shapes_are_refused() -> None:
    with pytest.raises(DataError, match=r"batch 1 has inputs of shape \(3, 8, 8\), batch 0 has"):
        read_batches(batches((2,)) + batches((2,), side=8), "training", 10)


def test_no_data_is_refused() -> None:
    with pytest.raises(DataError, match="the test data is empty"):
        read_batches([], "test", 10)


def test_data_knows_its_input_shape() -> None:
    kept = read_batches(batches((2,)), "validation", 10)
    assert Data(kept, kept).input_shape == (1, 3, 4, 4)
