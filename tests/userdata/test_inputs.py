"""Inputs by their numbers, and pictures as codes: the very values, in fewer bytes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from automl.userdata.data import Batches, Data
from automl.userdata.digests import data_digest
from automl.userdata.inputs import Coded, Inputs, coded
from automl.userdata.reading import read_batches


def pictures(count: int, side: int = 64, seed: int = 0) -> Tensor:
    """Pictures of 8 bits, scaled as people do."""
    drawn = torch.Generator().manual_seed(seed)
    levels = torch.randint(0, 256, (count, 3, side, side), generator=drawn)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    scaled = (levels / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    return scaled.to(memory_format=torch.channels_last) if seed % 2 else scaled


@pytest.mark.parametrize("seed", [0, 1])
def test_pictures_become_codes_that_give_the_very_values(seed: int) -> None:
    inputs = pictures(5, seed=seed)
    found = coded(inputs)
    assert isinstance(found, Coded)
    assert found.nbytes == inputs.nbytes // 4
    assert torch.equal(found[:], inputs)
    assert torch.equal(found[1:3], inputs[1:3])
    assert torch.equal(found[torch.tensor([4, 0])], inputs[[4, 0]])
    assert torch.equal(found.first(2)[:], inputs[:2])
    assert found.shape == inputs.shape


def test_values_that_later_pictures_bring_are_coded_too() -> None:
    inputs = torch.zeros(2, 1, 64, 64)
    inputs[1] = torch.arange(64 * 64).view(64, 64) % 200
    inputs[1, 0, 0, 0] = -0.0
    found = coded(inputs)
    assert isinstance(found, Coded)
    assert torch.equal(found[:].view(torch.int32), inputs.view(torch.int32))  # the zeros' signs


@pytest.mark.parametrize(
    "inputs",
    [
        torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)),
        torch.cat([torch.zeros(1, 1, 80, 80), torch.arange(6400.0).view(1, 1, 80, 80)]),
        pictures(5).double(),
        pictures(5)[1:4],  # of a tensor that somebody holds
        torch.zeros(4, 3, 4, 4),  # too few for their values to be worth it
        torch.zeros(4, 5000),
    ],
)
def test_what_has_more_values_or_is_held_already_stays_as_it_is(inputs: Tensor) -> None:
    assert coded(inputs) is inputs


def test_inputs_are_read_across_batches_as_from_one_tensor() -> None:
    whole = torch.cat([pictures(4), torch.randn(3, 3, 64, 64), pictures(2, seed=2)])
    found = Inputs([coded(whole[:4].clone()), whole[4:7], coded(whole[7:].clone())])
    assert (len(found), found.shape) == (9, whole.shape)
    assert found.nbytes == whole[:6].nbytes // 4 + whole[:3].nbytes
    for here in (slice(0, 9), slice(2, 5), slice(4, 7), slice(6, None), slice(8, 40), slice(3, 3)):
        assert torch.equal(found[here], whole[here])
    for numbers in ([8, 0, 5, 5, 3], [4], []):
        index = torch.tensor(numbers, dtype=torch.long)
        assert torch.equal(found[index], whole[index])
    assert found[4:7].data_ptr() == whole[4:].data_ptr()  # not copied


def test_batches_hold_codes_and_give_floats() -> None:
    inputs, classes = pictures(6), torch.arange(6)
    given = [(inputs[:4].clone(), classes[:4]), (inputs[4:].clone(), classes[4:])]
    assert all(isinstance(each, Tensor) for each, _ in read_batches(given, "", 5).pairs)  # held
    read = read_batches(iter(given), "", 5)
    assert all(isinstance(each, Coded) for each, _ in read.pairs)
    assert torch.equal(torch.cat([each for each, _ in read]), inputs[:5])
    assert torch.equal(read.by_number[0:5], inputs[:5])
    assert torch.equal(read.inputs, inputs[:5])
    assert torch.equal(read.head(3).inputs, inputs[:3])
    plain = Batches(((inputs[:4], classes[:4]), (inputs[4:5], classes[4:5])))
    assert data_digest(Data(read, read)) == data_digest(Data(plain, plain))


def test_codes_leave_room_for_more_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, noise = pictures(8), torch.randn(8, 3, 64, 64)
    monkeypatch.setattr("automl.userdata.data.MAX_BYTES", 2 * inputs[0].nbytes)
    kept = [
        read_batches(iter([(each.clone(), torch.zeros(8))]), "", 8).images
        for each in (inputs, noise)
    ]
    assert kept == [8, 2]
