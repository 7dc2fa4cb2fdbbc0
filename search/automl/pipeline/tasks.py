"""The task that names describe: model, data and score, loaded and run once."""

from __future__ import annotations

from automl.errors import OptionError, UsageError
from automl.options import TaskOptions
from automl.pipeline.requests import Task
from automl.userdata import (
    ACCURACY_NAME,
    check_forward,
    check_input_shape,
    load_data,
    load_model,
    load_score,
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
    model = load_model(named.model, named.weights)
    score = load_score(named.score, model)
    data = load_data(named.data, calibration, seed)
    shape = check_input_shape(named.input_shape, data)
    check_forward(model, data)
    return Task(
        model=model,
        data=data,
        score=score,
        input_shape=shape,
        model_name=named.model,
        data_name=named.data,
        score_name=named.score or ACCURACY_NAME,
    )
