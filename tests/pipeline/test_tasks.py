"""A task from its names."""

from __future__ import annotations

from pathlib import Path

import pytest

from automl.errors import OptionError, UsageError
from automl.options import TaskOptions
from automl.pipeline import load_task

TINY = Path(__file__).with_name("tiny.py")


def named(**changes: object) -> TaskOptions:
    given = {"model": f"{TINY}:model", "data": f"{TINY}:loaders", "score": f"{TINY}:agreement"}
    return TaskOptions(**given | changes)  # type: ignore[arg-type]


def test_model_data_and_score_are_loaded() -> None:
    task = load_task(named(), calibration=9, seed=0)
    assert task.input_shape == (1, 3, 16, 16)
    assert task.data.calibration.images == 9
    assert task.score(task.model, task.data.validation) == pytest.approx(0.0, abs=1e-6)
    assert task.score_name.endswith("tiny.py:agreement")
    assert load_task(named(score=None), 9, 0).score_name == "logits"  # its targets are floats


def test_what_is_missing_or_does_not_fit_is_named() -> None:
    with pytest.raises(OptionError, match="model: has to be given"):
        load_task(TaskOptions(), 9, 0)
    with pytest.raises(UsageError, match=r"tiny\.py:model needs data"):
        load_task(named(data=None), 9, 0)
    for shape in ("1x16x16", "48x16"):
        with pytest.raises(OptionError, match=r"input_shape: differs in more .* which is 3x16x16"):
            load_task(named(input_shape=shape), 9, 0)


def test_the_device_may_see_larger_inputs_than_the_data_has() -> None:
    task = load_task(named(input_shape="3x48x64"), 9, 0)
    assert task.input_shape == (1, 3, 48, 64)
    assert task.data.input_shape == (1, 3, 16, 16)
