"""Pictures in folders, as batches."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from automl.errors import DataError
from automl.userdata.loading import load_data
from automl.userdata.pictures import decode, picture_parts
from automl.userdata.sources import PicturePreparation, read_source


def draw(
    path: Path, colour: tuple[int, int, int] = (255, 0, 0), size: tuple[int, int] = (8, 6)
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten pictures each of two classes."""
    for number in range(10):
        draw(tmp_path / "photos" / "cat" / f"{number}.png", (255, 0, 0))
        draw(tmp_path / "photos" / "dog" / f"{number}.jpg", (0, 0, 255))
    (tmp_path / "photos" / "notes").mkdir()
    (tmp_path / "photos" / "notes" / "a.txt").write_text("none")
    return tmp_path / "photos"


def test_a_folder_a_class_shared_out_by_the_pictures_names(photos: Path) -> None:
    parts = picture_parts(read_source(f"folder:{photos}"))
    assert [len(each.pictures) for each in parts] == [12, 4, 4]
    paths = [{picture.path for picture in each.pictures} for each in parts]
    assert len(set.union(*paths)) == 20
    labels = [picture.label for picture in parts[0].pictures]
    assert set(labels) == {0, 1}
    assert labels != sorted(labels)  # no class after the other: the first are calibrated on
    draw(photos / "cat" / "more.png")
    before = [picture.path.name for picture in parts[0].pictures]
    after = [p.path.name for p in picture_parts(read_source(f"folder:{photos}"))[0].pictures]
    assert [name for name in after if name in before] == [name for name in before if name in after]
    ((inputs, classes),) = parts[1]
    assert inputs.shape == (4, 3, 6, 8)
    for picture, label in zip(inputs, classes.tolist(), strict=True):
        assert picture[0].mean() == pytest.approx(1.0 if label == 0 else 0.0, abs=0.02)


def test_parts_that_are_folders(photos: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    for part in ("train", "val", "test"):
        for name in ("cat", "dog"):
            draw(whole / part / name / "a.png")
    assert [len(each.pictures) for each in picture_parts(read_source(f"folder:{whole}"))] == [2] * 3
    draw(whole / "val" / "bird" / "a.png")
    with pytest.raises(DataError, match="has the class bird, which the training data has not"):
        picture_parts(read_source(f"folder:{whole}"))
    few = tmp_path / "few"
    for number in range(10):
        draw(few / "train" / "cat" / f"{number}.png")
    assert [len(each.pictures) for each in picture_parts(read_source(f"folder:{few}"))] == [8, 2]


def test_pictures_alone_have_no_labels(tmp_path: Path) -> None:
    for number in range(10):
        draw(tmp_path / "all" / f"{number}.png")
    data = load_data(f"folder:{tmp_path / 'all'}?size=4&mean=0.5&std=0.5", 100)
    assert data.test is not None
    assert (data.calibration.images, data.validation.images, data.test.images) == (6, 2, 2)
    assert all(targets is None for _, targets in data.validation)
    assert data.validation.inputs[0, :, 0, 0].tolist() == [1.0, -1.0, -1.0]
    assert data.training is not None
    assert sum(len(inputs) for inputs, _ in data.training) == 6


def test_a_picture_is_resized_until_its_middle_has_the_size(tmp_path: Path) -> None:
    path = tmp_path / "wide.png"
    picture = Image.new("RGB", (40, 20), (0, 0, 0))
    picture.paste((255, 255, 255), (15, 5, 25, 15))  # a white square in the middle
    picture.save(path)
    whole = decode(path, PicturePreparation(size=(10, 10)))
    assert whole.shape == (3, 10, 10)
    assert float(whole[:, 3:7, 3:7].min()) == 1.0
    assert float(whole[:, 0].max()) == 0.0
    middle = decode(path, PicturePreparation(size=(10, 10), crop=0.5))
    assert float(middle.min()) == 1.0  # half of the shorter side: the white square alone
    assert decode(path, PicturePreparation(size=(6, 12))).shape == (3, 6, 12)
    assert decode(path, PicturePreparation(crop=0.5)).shape == (3, 10, 20)
    assert decode(path, PicturePreparation(channels=1)).shape == (1, 20, 40)


def test_what_is_wrong_is_named(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no folder"):
        load_data(f"folder:{tmp_path / 'none'}", 10)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds 0 pictures .* at least 10 are needed"):
        load_data(f"folder:{tmp_path / 'empty'}", 10)
    draw(photos / "dog" / "big.png", size=(9, 9))
    with pytest.raises(
        DataError, match=r"several sizes .*: say which the model takes, as in \?size"
    ):
        load_data(f"folder:{photos}", 100)
    (photos / "cat" / "0.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"0.png cannot be read as a picture"):
        load_data(f"folder:{photos}?size=8", 100)


def test_without_pillow_it_is_said_what_to_install(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(DataError, match=r"pip install 'automl-latency\[images\]'"):
        load_data(f"folder:{photos}", 10)


def test_the_same_pictures_each_time(photos: Path) -> None:
    first, second = (load_data(f"folder:{photos}?size=4", 100) for _ in range(2))
    assert torch.equal(first.calibration.inputs, second.calibration.inputs)
