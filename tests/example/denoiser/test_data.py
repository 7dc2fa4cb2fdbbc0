"""The shipped crops: what they are, that they are whole, and that noise is the same everywhere."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from automl.example.denoiser import data

FOLDER = data.IMAGES.parent
SIZES = (48, 24, 40)


def test_loaders_give_noisy_and_clean_crops() -> None:
    for size, batches in zip(SIZES, data.loaders(), strict=True):
        ((noisy, clean),) = batches
        assert noisy.shape == clean.shape == (size, 3, 64, 64)
        assert noisy.dtype == clean.dtype == torch.float32
        assert float(noisy.min()) >= 0
        assert float(noisy.max()) <= 1
        steps = noisy * 255
        assert torch.equal(steps.round().div(255), noisy)
        inside = (clean > 0.35) & (clean < 0.65)  # where nothing is clipped
        assert float((noisy - clean)[inside].std()) == pytest.approx(data.SIGMA, rel=0.02)


def test_noise_is_drawn_by_a_generator_whose_numbers_stay() -> None:
    """Policies hold a digest of the calibration inputs: they have to be the same everywhere."""
    noisy = data.loaders()[0].inputs
    again = np.random.RandomState(0).standard_normal((48, 3, 64, 64)).astype(np.float32)
    assert torch.equal(noisy, data.noisy(data.loaders()[0].targets, torch.from_numpy(again)))
    assert again.ravel()[:2].tolist() == pytest.approx([1.7640524, 0.4001572], abs=1e-6)


def test_columns_are_packed_as_differences() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 6, 3), dtype=np.uint8)
    packed = data.pack(pixels)
    assert packed.dtype == np.uint8
    assert np.array_equal(packed[:, :, 0], pixels[:, :, 0])
    assert np.array_equal(data.unpack(packed), pixels)


def test_noise_is_clipped_and_rounded_as_a_camera_does() -> None:
    clean = torch.tensor([0.0, 1.0, 0.5])
    assert data.noisy(clean, torch.tensor([-9.0, 9.0, 0.0])).tolist() == pytest.approx(
        [0.0, 1.0, 128 / 255]
    )
    assert clean.tolist() == [0.0, 1.0, 0.5]


def test_no_crop_is_in_two_parts() -> None:
    crops = torch.cat([part.targets.flatten(1) for part in data.loaders()])
    assert len(crops.unique(dim=0)) == sum(SIZES)


def test_files_are_within_their_limits_and_match_their_checksums() -> None:
    limits = {"images.npz": 1_300_000, "weights.pt": 700_000}
    lines = (FOLDER / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split() for line in lines)}
    assert sums.keys() == limits.keys()
    for name, limit in limits.items():
        content = (FOLDER / name).read_bytes()
        assert len(content) < limit
        assert hashlib.sha256(content).hexdigest() == sums[name]
