"""Flags and automl.toml together: which model, which data, and what to type next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from command import MODEL

from automl.cli import resolve
from automl.compression import CompressionConfig
from automl.errors import OptionError, UsageError
from automl.example import EXAMPLES

HERE = {"model": "mine.py:network", "data": "mine.py:loaders"}


def test_without_a_model_it_is_the_example(folder: Path) -> None:
    settings = resolve.settle({})
    assert {name: settings.get(name) for name in ("model", "data", "score")} == {
        "model": EXAMPLES[0].model,
        "data": EXAMPLES[0].data,
        "score": None,
    }
    assert resolve.flags_again(settings) == []


def test_an_example_is_chosen_by_name_or_left_open(folder: Path) -> None:
    settings = resolve.settle({"example": "denoiser", "seed": "3"})
    assert settings.get("model") == EXAMPLES[1].model
    assert (settings.get("score"), settings.get("input_shape")) == ("psnr", (1, 3, 480, 640))
    assert resolve.flags_again(settings) == ["--example", "denoiser"]
    other = resolve.settle({"example": "denoiser", "score": "logits", "input_shape": "3x96x96"})
    assert (other.get("score"), other.get("input_shape")) == ("logits", (1, 3, 96, 96))
    assert resolve.flags_again(other) == ["--example", "denoiser", "--score", "logits"]
    assert "model" not in resolve.settle({}, example=None).values
    with pytest.raises(OptionError, match=r"--example: no example 'denoise' \(did you mean"):
        resolve.settle({"example": "denoise"})


def test_an_example_stands_in_place_of_the_files_model_and_a_model_of_its_example(
    folder: Path,
) -> None:
    (folder / "automl.toml").write_text("".join(f'{key} = "{HERE[key]}"\n' for key in HERE))
    assert resolve.settle({"example": "denoiser"}).get("data") == EXAMPLES[1].data
    (folder / "automl.toml").write_text('example = "denoiser"\n')
    settings = resolve.settle({})
    assert (settings.get("model"), resolve.flags_again(settings)) == (EXAMPLES[1].model, [])
    assert resolve.settle(HERE).get("model") == HERE["model"]


def test_a_model_and_an_example_are_not_both_compressed(folder: Path) -> None:
    with pytest.raises(UsageError, match="give one of them"):
        resolve.settle(HERE | {"example": "denoiser"})
    with pytest.raises(UsageError, match="belong to a model of yours"):
        resolve.settle({"data": "mine.py:loaders", "example": "denoiser"})


def test_a_policy_says_which_example_it_is_for() -> None:
    for each in EXAMPLES:
        assert resolve.example_for(each.model) == each.name
        assert resolve.flags_for(each.model) == []
    assert resolve.example_for("mine.py:network") == EXAMPLES[0].name


def test_an_examples_frame_needs_no_data(folder: Path) -> None:
    settings = resolve.settle({"example": "denoiser"})
    assert resolve.load_model_alone(settings)[1] == (1, 3, 480, 640)


def test_flags_win_over_the_file_and_the_rest_is_the_files(folder: Path) -> None:
    (folder / "automl.toml").write_text('model = "other.py:net"\ntarget = "rpi4-1t"\nseed = 3\n')
    settings = resolve.settle({"model": "mine.py:network", "seed": None})
    assert settings.get("model") == "mine.py:network"
    assert (settings.get("target"), settings.get("seed")) == ("rpi4-1t", 3)


def test_keys_that_mean_something_else_to_a_command_are_left_out(folder: Path) -> None:
    (folder / "automl.toml").write_text('out = "runs/mine"\n')
    assert "out" in resolve.settle({}).values
    assert "out" not in resolve.settle({}, without=("out",)).values


def test_data_without_a_model_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="belong to a model of yours"):
        resolve.settle({"data": "mine.py:loaders"})


def test_a_task_is_loaded_and_tried(folder: Path) -> None:
    task = resolve.load_task(resolve.settle(HERE))
    assert task.input_shape == (1, 3, 2, 2)
    assert (task.model_name, task.data_name) == (HERE["model"], HERE["data"])
    assert task.score_name == "top-1 accuracy"
    assert not task.model.training


def test_a_policy_says_how_many_calibration_inputs_are_read(folder: Path) -> None:
    settings = resolve.settle(HERE)
    assert resolve.load_task(settings).data.calibration.images == 4
    making = CompressionConfig(calibration=2)
    assert resolve.load_task(settings, making).data.calibration.images == 2


def test_an_input_shape_of_other_channels_than_the_datas_is_refused(folder: Path) -> None:
    settings = resolve.settle(HERE | {"input_shape": "1x4x4"})
    with pytest.raises(OptionError, match="which is 3x2x2"):
        resolve.load_task(settings)


def test_a_model_alone_needs_a_shape_or_data(folder: Path) -> None:
    model = {"model": "mine.py:network"}
    with pytest.raises(UsageError, match="needs --input-shape CxHxW or --data"):
        resolve.load_model_alone(resolve.settle(model))
    assert resolve.load_model_alone(resolve.settle(HERE))[1] == (1, 3, 2, 2)
    shaped = resolve.settle(model | {"input_shape": "3x2x2"})
    assert resolve.load_model_alone(shaped)[1] == (1, 3, 2, 2)


def test_the_next_command_names_the_model_unless_the_file_does(folder: Path) -> None:
    settings = resolve.settle(HERE)
    assert resolve.flags_again(settings) == [*MODEL]
    assert resolve.flags_for("mine.py:network")[:2] == ["--model", "mine.py:network"]
    (folder / "automl.toml").write_text("".join(f'{key} = "{HERE[key]}"\n' for key in HERE))
    assert resolve.flags_for("mine.py:network") == []


def test_a_command_can_be_pasted(folder: Path) -> None:
    words: list[Any] = ["automl", "show", Path("my runs/policy.json")]
    assert resolve.command(*words) == "automl show 'my runs/policy.json'"
