"""The training recipe on a few random images: one step, and everything that it writes."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from automl.errors import DataError
from automl.example import data
from automl.example.model import network

ROOT = Path(__file__).parents[2]
DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def load_recipe() -> ModuleType:
    path = ROOT / "search" / "recipes" / "train_example.py"
    spec = importlib.util.spec_from_file_location("train_example", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


recipe = load_recipe()


def write_idx(path: Path, values: NDArray[np.uint8]) -> None:
    header = bytes((0, 0, 8, values.ndim)) + np.array(values.shape, dtype=">u4").tobytes()
    path.write_bytes(gzip.compress(header + values.tobytes(), compresslevel=1))


@pytest.fixture
def few_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of random images, and held-out parts small enough for it."""
    monkeypatch.setattr(recipe, "CALIBRATION", 4)
    monkeypatch.setattr(recipe, "VALIDATION", 6)
    monkeypatch.setattr(recipe, "TEST", 5)
    generator = np.random.default_rng(1)
    folder = tmp_path / "idx"
    folder.mkdir()
    for part, count in (("train", 26), ("t10k", 8)):
        images = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = generator.integers(0, 10, count, dtype=np.uint8)
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", images)
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", labels)
    return folder


def run(few_images: Path, out: Path, *more: str) -> None:
    threads, exact = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    settings = ["--batch", "8", "--epochs", "2", "--limit", "1", "--precision", "fp32"]
    try:
        recipe.main(["--data", str(few_images), "--out", str(out), *settings, *more])
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(exact)


def test_one_step_writes_weights_images_report_and_checksums(
    few_images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "folder"
    run(few_images, out)
    names = {"weights.pt", "images.npz", "training.json", "SHA256SUMS"}
    assert {path.name for path in out.iterdir()} == names
    network().load_state_dict(torch.load(out / "weights.pt", weights_only=True), strict=True)
    with np.load(out / "images.npz", allow_pickle=False) as packed:
        counts = [len(packed[f"{part}_images"]) for part in data.PARTS]
        every = recipe.read_idx(few_images / "train-images-idx3-ubyte.gz")
        assert np.array_equal(packed["validation_images"], every[packed["validation_places"]])
    assert counts == [4, 6, 5]
    report = json.loads((out / "training.json").read_text())
    assert report["steps"] == 1
    assert report["settings"]["limit"] == 1
    assert all(0 <= share <= 1 for share in report["accuracy"].values())
    for line in (out / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split()
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest


def test_the_same_seed_gives_the_same_files_and_another_does_not(
    few_images: Path, tmp_path: Path
) -> None:
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        run(few_images, tmp_path / name, "--seed", seed)
    first, second, third = ((tmp_path / name / "SHA256SUMS").read_text() for name in "abc")
    assert first == second != third


def test_split_is_disjoint_and_complete() -> None:
    parts = recipe.split(60_000, seed=0)
    assert [len(part) for part in parts] == [1_000, 2_000, 57_000]
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(60_000))


def test_shipped_held_out_images_are_those_of_the_documented_seed() -> None:
    seed = json.loads((data.IMAGES.parent / "training.json").read_text())["settings"]["seed"]
    calibration, validation, _ = recipe.split(60_000, seed)
    with np.load(data.IMAGES, allow_pickle=False) as packed:
        assert np.array_equal(packed["calibration_places"], calibration)
        assert np.array_equal(packed["validation_places"], validation)


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="dataset-fashion-mnist is not installed")
def test_shipped_images_are_those_of_the_data_set() -> None:
    (images, labels), test = recipe.read(DEBIAN, "train"), recipe.read(DEBIAN, "t10k")
    with np.load(data.IMAGES, allow_pickle=False) as packed:
        for part in ("calibration", "validation"):
            assert np.array_equal(packed[f"{part}_images"], images[packed[f"{part}_places"]])
            assert np.array_equal(packed[f"{part}_labels"], labels[packed[f"{part}_places"]])
        assert np.array_equal(packed["test_images"], test[0][:3_000])
        assert np.array_equal(packed["test_labels"], test[1][:3_000])


def test_augment_shifts_and_flips_whole_images() -> None:
    image = torch.zeros(28, 28, dtype=torch.uint8)
    image[10, 5] = 200
    several = recipe.augment(image.expand(200, 28, 28), torch.Generator().manual_seed(0))
    assert several.shape == (200, 28, 28)
    assert several.dtype == torch.uint8
    places = {tuple(np.argwhere(one)[0].tolist()) for one in several.numpy()}
    rows, columns = ({place[axis] for place in places} for axis in (0, 1))
    assert rows == set(range(8, 13))
    assert columns == set(range(3, 8)) | set(range(20, 25))
    assert (several.sum((1, 2)) == 200).all()


def test_missing_and_foreign_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.gz: not found .*dataset-fashion-mnist"):
        recipe.read_idx(tmp_path / "none.gz")
    (tmp_path / "floats.gz").write_bytes(gzip.compress(b"\0\0\x0d\x01" + bytes(4)))
    with pytest.raises(DataError, match=r"floats\.gz: .*not 00 00 0d"):
        recipe.read_idx(tmp_path / "floats.gz")
