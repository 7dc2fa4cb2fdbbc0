"""The shipped images: what they are, that they are whole, and that they were held out."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from automl.example import data

FOLDER = data.IMAGES.parent
SIZES = {"calibration": 1_000, "validation": 2_000, "test": 3_000}


def test_loaders_give_normalised_batches_of_the_documented_sizes() -> None:
    for (part, size), batches in zip(SIZES.items(), data.loaders(), strict=True):
        inputs, targets = zip(*batches, strict=True)
        assert len(inputs) == len(batches), part
        assert all(batch.shape[1:] == (1, 28, 28) for batch in inputs)
        assert all(batch.dtype == torch.float32 for batch in inputs)
        assert all(batch.dtype == torch.int64 for batch in targets)
        assert sum(map(len, inputs)) == sum(map(len, targets)) == size
        assert set(torch.cat(targets).tolist()) == set(range(10))
        pixels = torch.cat(inputs)
        assert pixels.mean().abs() < 0.03
        assert (pixels.std() - 1).abs() < 0.03


def test_loaders_can_be_iterated_again_and_give_the_same() -> None:
    for batches in data.loaders():
        for first, second in zip(batches, batches, strict=True):
            assert torch.equal(first[0], second[0])
            assert torch.equal(first[1], second[1])


def test_images_are_decoded_once() -> None:
    assert data.loaders()[0].inputs.data_ptr() == data.loaders()[0].inputs.data_ptr()


def test_a_last_batch_may_be_shorter() -> None:
    batches = data.ShuffledBatches(
        torch.zeros(data.BATCH + 1, 1, 2, 2), torch.zeros(data.BATCH + 1)
    )
    assert [len(targets) for _, targets in batches] == [data.BATCH, 1]
    assert len(batches) == 2


def test_normalise_maps_the_mean_to_zero() -> None:
    images = np.array([[[0, 255]]], dtype=np.uint8)
    low, high = data.normalise(images).flatten().tolist()
    assert low == pytest.approx(-data.MEAN / data.DEVIATION)
    assert high == pytest.approx((1 - data.MEAN) / data.DEVIATION)


def test_held_out_parts_do_not_overlap() -> None:
    with np.load(data.IMAGES, allow_pickle=False) as packed:
        calibration, validation = packed["calibration_places"], packed["validation_places"]
    assert (len(calibration), len(validation)) == (1_000, 2_000)
    assert len(np.union1d(calibration, validation)) == 3_000


def test_files_are_within_their_limits_and_match_their_checksums() -> None:
    limits = {"images.npz": 4_000_000, "weights.pt": 1_500_000}
    lines = (FOLDER / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split() for line in lines)}
    assert sums.keys() == limits.keys()
    for name, limit in limits.items():
        content = Path(FOLDER / name).read_bytes()
        assert len(content) < limit
        assert hashlib.sha256(content).hexdigest() == sums[name]
