"""Flags and automl.toml made into what the pipeline asks for. Flags win; the example is default."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from automl.cli.options import (
    parse_input_shape,
    parse_resolutions,
    parse_round_to,
    parse_seconds,
)
from automl.errors import UsageError, nearest
from automl.userdata import Settings, read_settings, with_flags

if TYPE_CHECKING:
    from torch import nn

    from automl.pipeline import SearchRequest, Task

EXAMPLE_MODEL: Final = "automl.example.model:pretrained"
EXAMPLE_DATA: Final = "automl.example.data:loaders"


def settle(**flags: Any) -> Settings:
    """The settings of this folder with the flags that were given, and the example for the rest.

    Raises:
        UsageError: A broken automl.toml, or data or weights without a model.
    """
    settings = with_flags(read_settings(Path.cwd()), **flags)
    if settings.model is not None:
        return settings
    if settings.data is not None or settings.weights is not None:
        raise UsageError("data and weights belong to a model of yours: give --model too")
    return with_flags(settings, model=EXAMPLE_MODEL, data=EXAMPLE_DATA)


def load_task(settings: Settings) -> Task:
    """Load the model, its data and its score, and run the model once.

    Raises:
        ModelError, DataError: What cannot be used, by name.
        UsageError: A model without data, or an input shape that is not the data's.
    """
    from automl import userdata
    from automl.pipeline import DEFAULT_CALIBRATION, Task
    from automl.userdata import ACCURACY_NAME

    assert settings.model is not None  # settle() sees to it
    if settings.data is None:
        raise UsageError(f"--model {settings.model} needs --data file.py:loaders")
    weights = None if settings.weights is None else Path(settings.weights)
    model = userdata.load_model(settings.model, weights)
    score = userdata.load_score(settings.score, model)
    calibration = settings.calibration or DEFAULT_CALIBRATION
    data = userdata.load_data(settings.data, calibration, settings.seed or 0)
    shape = settings.input_shape
    if shape is not None and parse_input_shape(shape) != data.input_shape:
        found = "x".join(map(str, data.input_shape[1:]))
        raise UsageError(f"--input-shape {shape} is not that of the data, which is {found}")
    userdata.check_forward(model, data)
    return Task(
        model=model,
        data=data,
        score=score,
        input_shape=data.input_shape,
        model_name=settings.model,
        data_name=settings.data,
        score_name=settings.score or ACCURACY_NAME,
    )


def load_model_alone(settings: Settings) -> tuple[nn.Module, tuple[int, ...]]:
    """The model and the shape of its input, from the setting or else from the data.

    Raises:
        ModelError, DataError: What cannot be used, by name.
        UsageError: Neither an input shape nor data.
    """
    from automl import userdata

    assert settings.model is not None  # settle() sees to it
    if settings.input_shape is None and settings.data is None:
        raise UsageError(f"--model {settings.model} needs --input-shape CxHxW or --data")
    shape = None if settings.input_shape is None else parse_input_shape(settings.input_shape)
    weights = None if settings.weights is None else Path(settings.weights)
    model = userdata.load_model(settings.model, weights)
    if shape is None and settings.data is not None:
        shape = userdata.load_data(settings.data, calibration=1).input_shape
    assert shape is not None
    return model, shape


def search_request(settings: Settings, resume: bool) -> SearchRequest:
    """What the settings ask for. Everything cheap is checked before the model is loaded.

    Raises:
        UsageError: No target, budget or such agent, or a value that is not understood.
        ModelError, DataError: What cannot be used, by name.
    """
    from automl.agents import AGENTS
    from automl.pipeline import DEFAULT_PRECISIONS, DEFAULT_TRIALS, SearchRequest
    from automl.policy import parse_precisions
    from automl.units import parse_budget

    if settings.target is None:
        raise UsageError("search needs --target NAME (see automl targets)")
    if not settings.budget:
        raise UsageError("search needs a --budget: 10ms, 50%, 60MMACs, 50%MACs, 4MB or 50%size")
    for text in settings.budget:
        parse_budget(text)
    agent, agents = settings.agent or "lagrangian", AGENTS.names()
    if agent not in agents:
        raise UsageError(f"no agent {agent!r}{nearest(agent, agents)}")
    seconds = None if settings.time is None else parse_seconds(settings.time)
    round_to = parse_round_to(settings.round_to or "auto")
    resolutions = parse_resolutions(settings.resolutions or "auto")
    precisions = parse_precisions(",".join(settings.precisions or DEFAULT_PRECISIONS))
    names = [_short_name(settings.model or ""), Path(settings.target).stem, *settings.budget]
    return SearchRequest(
        task=load_task(settings),
        target=settings.target,
        budget=tuple(settings.budget),
        out=run_folder(settings.out, names, resume),
        agent=agent,
        trials=settings.trials or DEFAULT_TRIALS,
        seconds=seconds,
        seed=settings.seed or 0,
        resume=resume,
        storage=settings.storage,
        round_to=round_to,
        depth=settings.depth is not False,
        resolutions=resolutions,
        precisions=precisions,
        keep_first_last=settings.keep_first_last is True,
        threads=settings.threads or 1,
        full_scores=settings.full_scores is True,
        warm_start=settings.warm_start is not False,
    )


def run_folder(out: str | None, names: list[str], resume: bool) -> Path:
    """The folder asked for; else runs/NAME, numbered so that no earlier run is touched.

    A folder whose search ended before its study began is taken again. With `resume`, the latest
    run of that name.
    """
    if out is not None:
        return Path(out)
    words = "-".join(names).replace("%", "pct")
    name = re.sub(r"[^A-Za-z0-9.]+", "-", words).strip("-.") or "run"
    number = 1
    folder = latest = Path("runs") / name
    while any((folder / kept).exists() for kept in ("study.db", "policy.json")):
        latest, number = folder, number + 1
        folder = Path("runs") / f"{name}-{number}"
    return latest if resume else folder


def _short_name(spec: str) -> str:
    return "example" if spec == EXAMPLE_MODEL else spec.rpartition(":")[2]


def flags_again(settings: Settings) -> list[str]:
    """The flags which name the model, for the next command; none where automl.toml names it."""
    filed = read_settings(Path.cwd())
    words: list[str] = []
    for key in ("model", "weights", "data", "score"):
        value = getattr(settings, key)
        if value is not None and value not in (getattr(filed, key), EXAMPLE_MODEL, EXAMPLE_DATA):
            words += [f"--{key}", str(value)]
    return words


def flags_of(model: str) -> list[str]:
    """The flags that a policy's model needs in the next command; none where a file names them.

    A policy does not say where the data is: a name to fill in stands for it.
    """
    if model == EXAMPLE_MODEL or read_settings(Path.cwd()).model is not None:
        return []
    return ["--model", model if ":" in model else "FILE.py:NAME", "--data", "FILE.py:NAME"]


def command(*words: object) -> str:
    """A command to type, quoted for the shell."""
    return shlex.join(str(word) for word in words)
