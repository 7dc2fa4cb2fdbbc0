"""The denoiser's recipe on small made-up pictures: one step, and everything that it writes."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from automl.errors import DataError
from automl.example.denoiser import data
from automl.example.denoiser.model import network

ROOT = Path(__file__).parents[2]


def load_recipe() -> ModuleType:
    path = ROOT / "search" / "recipes" / "train_denoiser.py"
    spec = importlib.util.spec_from_file_location("train_denoiser", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


recipe = load_recipe()


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of random pictures under the names of the real ones, and few, small renderings."""
    for name, value in {
        "RENDERED": 7,
        "RENDERED_SIDE": 64,
        "LEAVES": 20,
        "CALIBRATION_CROPS": 8,
        "VALIDATION_CROPS": 1,
        "TEST_CROPS": 2,
    }.items():
        monkeypatch.setattr(recipe, name, value)
    generator = np.random.default_rng(1)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in (name for names in recipe.PARTS.values() for name in names):
        pixels = generator.integers(0, 256, (66, 130, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return folder


def run(pictures: Path, out: Path, *more: str) -> None:
    threads = torch.get_num_threads()
    settings = ["--batch", "2", "--limit", "1", "--precision", "fp32", "--no-classical"]
    try:
        recipe.main(["--pictures", str(pictures), "--out", str(out), *settings, *more])
    finally:
        torch.set_num_threads(threads)


def test_one_step_writes_weights_crops_report_and_checksums(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    run(pictures, out)
    names = {"weights.pt", "images.npz", "training.json", "SHA256SUMS"}
    assert {path.name for path in out.iterdir()} == names
    network().load_state_dict(torch.load(out / "weights.pt", weights_only=True), strict=True)
    with np.load(out / "images.npz", allow_pickle=False) as packed:
        crops = {part: data.unpack(packed[part]) for part in ("calibration", "validation", "test")}
    assert [len(part) for part in crops.values()] == [8, 1, 2]
    whole = np.asarray(Image.open(pictures / recipe.PARTS["validation"][0]))
    assert any(np.array_equal(crops["validation"][0], whole[:64, at : at + 64]) for at in (0, 64))
    report = json.loads((out / "training.json").read_text())
    assert report["settings"]["limit"] == 1
    assert 10 < report["decibels"]["noisy_test"] < 30
    for line in (out / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split()
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest


def test_the_same_seed_gives_the_same_files_and_another_does_not(
    pictures: Path, tmp_path: Path
) -> None:
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        run(pictures, tmp_path / name, "--seed", seed)
    first, second, third = ((tmp_path / name / "SHA256SUMS").read_text() for name in "abc")
    assert first == second != third


def test_pictures_of_the_test_are_not_trained_on() -> None:
    parts = list(recipe.PARTS.values())
    assert len({name for names in parts for name in names}) == sum(map(len, parts))


def test_leaves_are_rendered_by_the_generator_alone() -> None:
    palette = np.array([[200, 30, 30], [20, 160, 60]], dtype=np.uint8)
    first, second = (recipe.render(palette, np.random.default_rng(4)) for _ in range(2))
    assert first.shape == (recipe.RENDERED_SIDE, recipe.RENDERED_SIDE, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, second)
    assert first.std() > 10


def test_crops_do_not_overlap_and_there_are_not_too_many() -> None:
    picture = np.arange(130 * 200, dtype=np.uint32).reshape(130, 200)[..., None].repeat(3, 2)
    crops = recipe.crops_of(picture, 6, np.random.default_rng(0))
    assert crops.shape == (6, 64, 64, 3)
    assert len(np.unique(crops[..., 0])) == 6 * 64 * 64
    with pytest.raises(DataError, match="has no 7 crops of 64 pixels"):
        recipe.crops_of(picture, 7, np.random.default_rng(0))


def test_a_missing_picture_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.png: not found \(pip install scikit-image\)"):
        recipe.read_picture(tmp_path, "none.png")


def test_large_pictures_are_read_at_half_their_size(tmp_path: Path) -> None:
    Image.new("L", (1000, 400), 90).save(tmp_path / "wide.png")
    assert recipe.read_picture(tmp_path, "wide.png").shape == (200, 500, 3)
