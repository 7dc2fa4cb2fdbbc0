"""The examples by their names: each is there, fits its shape, and its score can judge it."""

from __future__ import annotations

import pytest

from automl.errors import UnknownNameError
from automl.example import EXAMPLES, Example, example_of, find_example
from automl.network import trace_network
from automl.options import TaskOptions
from automl.pipeline import load_task


def test_the_usual_one_comes_first() -> None:
    assert [each.name for each in EXAMPLES] == ["classifier", "denoiser"]
    assert EXAMPLES[0].values == {
        "model": "automl.example.model:pretrained",
        "data": "automl.example.data:loaders",
        "input_shape": "1x28x28",
    }


def test_an_example_is_found_by_its_name_or_its_model() -> None:
    for each in EXAMPLES:
        assert find_example(each.name) is each
        assert example_of(each.model) is each
    assert example_of("mine.py:network") is None
    with pytest.raises(UnknownNameError, match=r"no example 'denoise' \(did you mean denoiser"):
        find_example("denoise")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda each: each.name)
def test_what_an_example_says_is_a_task(example: Example) -> None:
    task = load_task(TaskOptions(**example.values), calibration=4, seed=0)  # type: ignore[arg-type]
    assert task.input_shape == example.input_shape
    assert task.score_name == (example.score or "top-1 accuracy")
    assert task.score(task.model, [next(iter(task.data.calibration))]) > 0
    traced = trace_network(
        task.model, task.input_shape, resolutions=(), shown=task.data.input_shape
    )
    assert len(traced.network.groups) > 10
    assert len(traced.network.blocks) > 5
