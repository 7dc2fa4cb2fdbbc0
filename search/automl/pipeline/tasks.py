"""The task that names describe: model, data and score, loaded and run once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from automl.errors import OptionError, UsageError
from automl.options import TaskOptions
from automl.pipeline.requests import Task
from automl.userdata import (
    Data,
    ReadyModel,
    check_input_shape,
    choose_score,
    load_data,
    load_ready,
    load_score,
    ready_for,
)


def load_task(named: TaskOptions, calibration: int, seed: int) -> Task:
    """Load the model, its data and its score, and run the model once.

    Args:
        named: What is loaded; a model and its data.
        calibration: Most calibration inputs to keep.
        seed: Of the order in which a shuffling loader gives them.

    Raises:
        ModelError, DataError: What cannot be used, by name.
        UsageError: A model without data.
        OptionError: An input shape that is not like the data's.
    """
    if named.model is None:
        raise OptionError("model", "has to be given")
    if named.data is None:
        raise UsageError(f"the model {named.model} needs data", options=("data",))
    loaded = load_ready(named.model, named.weights)
    if named.score is not None:  # what is wrong with it is said before the data is read
        load_score(named.score, loaded.model)
    data = load_data(named.data, calibration, seed)
    return task_of(
        loaded, data, named.score, named.input_shape, model=named.model, data_name=named.data
    )


def task_of(
    ready: ReadyModel,
    data: Data,
    score: Callable[..., Any] | str | None,
    input_shape: Sequence[int] | None,
    *,
    model: str,
    data_name: str,
) -> Task:
    """A model with its data and score, run on two inputs.

    Args:
        ready: The model, plain.
        data: As it was read.
        score: What was asked for; None for what the data allows.
        input_shape: What was asked for, batch 1 first; None for the data's.
        model, data_name: What they are called.

    Raises:
        DataError: Data that the model does not take, or labels that it has no classes for.
        ModelError: Outputs that are not finite.
        OptionError: An input shape that is not like the data's.
    """
    shape = check_input_shape(input_shape, data)
    taking = ready_for(ready.model, data)
    chosen = choose_score(score, taking, data)
    return Task(
        model=taking,
        data=data,
        score=chosen.score,
        input_shape=shape,
        model_name=model,
        data_name=data_name,
        score_name=chosen.name,
        notes=(*ready.notes, *chosen.notes),
    )
