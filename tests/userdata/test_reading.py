"""What loaders yield: kept up to a limit, copied, of one form, or refused."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from counted_batches import batches

from automl.errors import DataError
from automl.userdata import data, reading
from automl.userdata.reading import TrainingBatches, read_batches


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


@pytest.mark.parametrize(
    ("batch", "reason"),
    [
        ((torch.zeros(2, 3), 0, 0), r"is a tuple of 3, expected an \(input, target\) pair; of sev"),
        (3, r"is a int, expected an \(input, target\) pair"),
        (("a", 1), "batch 0: there is no tensor in it"),
        (({"x": torch.zeros(2, 3), "y": torch.zeros(3)},), "y has a batch of 3, x has one of 2"),
        ((torch.full((2, 3), torch.nan), 0), r"NaN or infinite"),
        ((torch.tensor(1.0), 0), r"input has no batch: its shape is \(\)"),
        ((torch.zeros(0, 3), 0), r"input has no batch: its shape is \(0, 3\)"),
        ((torch.full((1, 2), 1 << 25), 0), "whole numbers beyond 16,777,216"),
        ((torch.zeros(1, 2, dtype=torch.complex64), 0), "complex64, which is not supported"),
    ],
)
def test_what_is_no_batch_is_refused(batch: Any, reason: str) -> None:
    with pytest.raises(DataError, match=f"validation .*{reason}"):
        read_batches([batch], "validation", 10)


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 8, 8), r"input has the shape \(3, 8, 8\), not"),
        ({"a": torch.zeros(2, 1)}, {"b": torch.zeros(2, 1)}, "it holds b, not a"),
        ({"a": torch.zeros(2, 1)}, torch.zeros(2, 1), "it holds Tensor, not a"),
        ({"a": torch.zeros(2, 1)}, {"a": None}, "there is a NoneType in place of a tensor"),
        ((torch.zeros(2, 1),) * 2, (torch.zeros(2, 1),) * 3, "it is a tuple, not 2 parts"),
    ],
)
def test_inputs_of_another_form_than_the_first_are_refused(
    first: Any, second: Any, said: str
) -> None:
    with pytest.raises(DataError, match=f"training batch 1, unlike batch 0: {said}"):
        read_batches([(first, None), (second, None)], "training", 10)


def test_no_data_is_refused() -> None:
    with pytest.raises(DataError, match="the test data is empty"):
        read_batches([], "test", 10)


def test_inputs_alone_have_no_targets() -> None:
    inputs = torch.randn(2, 3)
    for batch in (inputs, (inputs,), [inputs], {"x": inputs}, inputs.numpy(), (inputs, None)):
        kept = read_batches([batch], "validation", 10)
        assert [each for _, each in kept] == [None]
        assert torch.equal(kept.inputs, inputs)


def test_other_floats_and_arrays_become_32_bit_tensors() -> None:
    wide, half = np.ones((2, 3)), torch.ones(2, 3, dtype=torch.float16)
    kept = read_batches([(wide, 0), (half, 0)], "validation", 10)
    assert kept.form is None
    assert kept.inputs.dtype == torch.float32


def test_what_a_loader_writes_in_the_same_place_again_is_copied() -> None:
    place, label = torch.zeros(2, 3), torch.zeros(2)

    def again() -> Iterator[Any]:
        for number in range(3):
            yield place.fill_(number), {"label": label.fill_(number), "rest": [label]}

    kept = read_batches(again(), "validation", 10)
    assert kept.inputs[:, 0].tolist() == [0, 0, 1, 1, 2, 2]
    assert [each["label"].tolist()[0] for _, each in kept] == [0, 1, 2]
    assert [each["rest"][0].tolist()[0] for _, each in kept] == [0, 1, 2]


def test_a_last_batch_may_be_smaller_also_in_rows() -> None:
    parts = [({"x": torch.ones(count, 2), "n": torch.arange(count)}, None) for count in (4, 4, 1)]
    kept = read_batches(parts, "validation", 10)
    assert (kept.images, kept.input_shape) == (9, (1, 3))
    assert kept.head(5).form == kept.form
    assert kept.form is not None
    assert kept.form.unpack(kept.inputs)["n"].tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0]


def test_an_epoch_of_a_loader_without_end_is_bounded_and_the_next_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "EPOCH", 8)

    class Endless:
        def __iter__(self) -> Iterator[Any]:
            return ((batches((4,))[0][0], number) for number in itertools.count())

    training = TrainingBatches(Endless(), None)
    assert [[each for _, each in training] for _ in range(3)] == [[0, 1], [2, 3], [4, 5]]
    assert training.cut


def test_an_epoch_that_ends_is_whole_and_begins_anew() -> None:
    class Ends:
        def __iter__(self) -> Iterator[Any]:
            return iter(batches((4, 2)))

    for source in (Ends(), batches((4, 2))):
        training = TrainingBatches(source, None)
        assert [[len(each) for each, _ in training] for _ in range(2)] == [[4, 2], [4, 2]]
        assert not training.cut


def test_a_loader_is_no_longer_than_it_says() -> None:
    class Lies:
        def __len__(self) -> int:
            return 2

        def __iter__(self) -> Iterator[Any]:
            return itertools.cycle(batches((4,)))

    assert len(list(TrainingBatches(Lies(), None))) == 2
