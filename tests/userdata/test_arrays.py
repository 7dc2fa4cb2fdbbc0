"""Arrays in a file of NumPy's, as batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from automl.errors import DataError
from automl.userdata.loading import load_data

DRAWN = np.random.default_rng(0)


def saved(path: Path, **arrays: Any) -> str:
    np.savez(path, **arrays)
    return str(path)


def images(count: int, *shape: int) -> Any:
    return DRAWN.integers(0, 256, (count, *shape), dtype=np.uint8)


def test_bytes_of_pictures_are_scaled_and_put_channels_first(tmp_path: Path) -> None:
    x = images(20, 8, 8, 3)
    data = load_data(saved(tmp_path / "a.npz", x=x, y=np.arange(20)), 100)
    assert data.test is not None
    parts = (data.calibration, data.validation, data.test)
    assert [each.images for each in parts] == [12, 4, 4]
    rows = [int(label) for each in parts for _, labels in each for label in labels]
    assert sorted(rows) == list(range(20))
    for each in parts:
        for inputs, labels in each:
            expected = torch.from_numpy(x[labels.numpy()]).permute(0, 3, 1, 2) / 255.0
            assert torch.allclose(inputs, expected)


@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
    ],
)
def test_parts_are_told_by_their_names(tmp_path: Path, names: tuple[str, ...]) -> None:
    arrays = (images(20, 8, 8), np.arange(20)[:, None], images(5, 8, 8), np.arange(5)[:, None])
    data = load_data(saved(tmp_path / "a.npz", **dict(zip(names, arrays, strict=True))), 100)
    assert data.test is not None
    assert (data.calibration.images, data.validation.images, data.test.images) == (16, 4, 5)
    assert data.input_shape == (1, 1, 8, 8)


def test_validation_that_is_there_is_taken(tmp_path: Path) -> None:
    parts = {f"x_{part}": images(4, 8, 8) for part in ("train", "val")}
    data = load_data(saved(tmp_path / "a.npz", **parts) + "?mean=0.5&std=0.25", 100)
    assert (data.calibration.images, data.validation.images, data.test) == (4, 4, None)
    assert all(labels is None for _, labels in data.validation)
    found = sorted((data.validation.inputs * 0.25 + 0.5).mul(255).round().flatten().tolist())
    assert found == sorted(parts["x_val"].flatten().tolist())


def test_other_arrays_are_taken_as_they_are(tmp_path: Path) -> None:
    rows = DRAWN.standard_normal((10, 5))
    data = load_data(saved(tmp_path / "a.npz", x=rows, y=rows[:, 0]), 100)
    assert data.input_shape == (1, 5)
    ids = load_data(saved(tmp_path / "b.npz", inputs=np.arange(50).reshape(10, 5)), 100)
    assert ids.form is not None
    assert ids.form.tensors[0].dtype == torch.int64
    words = load_data(saved(tmp_path / "c.npz", x=rows, y=np.array(["cat"] * 10)), 100)
    assert words.validation.pairs[0][1] == ["cat", "cat"]


@pytest.mark.parametrize(
    ("arrays", "option", "said"),
    [
        ({"a": np.zeros(3)}, "", "has no inputs: it has a, expected x and y"),
        ({"x": np.zeros((10, 2)), "y": np.zeros(9)}, "", r"shapes \(10, 2\) and \(9,\)"),
        ({"x": np.zeros((3, 2))}, "", "has 3 rows, at least 10 are needed"),
        ({"x_test": np.zeros((30, 2))}, "", "has no arrays for training: it has x_test"),
        ({"x": np.zeros((10, 2))}, "?size=4", "size is of folders of pictures, not of arrays"),
        ({"x": np.array([{}] * 10, dtype=object)}, "", "cannot be read: .*allow_pickle=False"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, arrays: Any, option: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        load_data(saved(tmp_path / "a.npz", **arrays) + option, 10)


def test_a_file_that_is_not_there_names_the_nearest(tmp_path: Path) -> None:
    saved(tmp_path / "train.npz", x=np.zeros((10, 2)))
    with pytest.raises(
        DataError, match=r"there is no file .*trian.npz \(did you mean train.npz\?\)"
    ):
        load_data(str(tmp_path / "trian.npz"), 10)
    (tmp_path / "train.npz").write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"train.npz cannot be read"):
        load_data(str(tmp_path / "train.npz"), 10)
