"""Flags and automl.toml made into what the pipeline asks for. Flags win; the example is default."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from automl.cli.flags import flags_of
from automl.errors import UsageError
from automl.options import Options, SearchOptions, TaskOptions
from automl.userdata import Settings, read_settings

if TYPE_CHECKING:
    from torch import nn

    from automl.compression import CompressionConfig
    from automl.pipeline import Task

EXAMPLE_MODEL: Final = "automl.example.model:pretrained"
EXAMPLE_DATA: Final = "automl.example.data:loaders"


def settle(
    flags: Mapping[str, object], *own: type[Options], without: Collection[str] = ()
) -> Settings:
    """The settings of this folder with the flags that were given, and the example for the rest.

    Args:
        flags: By name; None where one was not given.
        own: Options of the command that are no keys of automl.toml.
        without: Keys of the file that mean something else to the command.

    Raises:
        UsageError: A broken automl.toml, or data or weights without a model.
        OptionError: A value of the wrong kind; says where it was given.
    """
    known = {each.name: each for each in flags_of(TaskOptions, SearchOptions, *own)}
    filed = read_settings(Path.cwd()).but(without)
    settings = filed.with_flags({known[name]: flags[name] for name in flags})
    if "model" in settings.values:
        return settings
    if settings.values.keys() & {"data", "weights"}:
        raise UsageError("data and weights belong to a model of yours: give --model too")
    return settings.with_values(model=EXAMPLE_MODEL, data=EXAMPLE_DATA)


def load_task(settings: Settings, making: CompressionConfig | None = None) -> Task:
    """Load the model, its data and its score, and run the model once.

    Args:
        settings: Where they are.
        making: How the calibration inputs are read, where it is not the settings that say.

    Raises:
        ModelError, DataError: What cannot be used, by name.
        UsageError: A model without data, or an input shape that is not like the data's.
    """
    from automl.pipeline import load_task as load

    named = settings.make(TaskOptions)
    assert named.model is not None  # settle() sees to it
    if making is not None:
        return load(named, making.calibration, making.seed)
    return load(named, settings.get("calibration"), settings.get("seed"))


def load_model_alone(settings: Settings) -> tuple[nn.Module, tuple[int, ...]]:
    """The model and the shape of its input, from the setting or else from the data.

    Raises:
        ModelError, DataError: What cannot be used, by name.
        UsageError: Neither an input shape nor data.
    """
    from automl import userdata

    named = settings.make(TaskOptions)
    assert named.model is not None  # settle() sees to it
    if named.input_shape is None and named.data is None:
        raise UsageError(f"--model {named.model} needs --input-shape CxHxW or --data")
    model = userdata.load_model(named.model, named.weights)
    if named.input_shape is not None:
        return model, named.input_shape
    assert named.data is not None
    return model, userdata.load_data(named.data, calibration=1).input_shape


def flags_again(settings: Settings) -> list[str]:
    """The flags which name the model, for the next command; none where automl.toml names it."""
    filed = read_settings(Path.cwd()).values
    words: list[str] = []
    for key in ("model", "weights", "data", "score"):
        value = settings.values.get(key)
        if value not in (None, filed.get(key), EXAMPLE_MODEL, EXAMPLE_DATA):
            words += [f"--{key}", str(value)]
    return words


def flags_for(model: str) -> list[str]:
    """The flags that a policy's model needs in the next command; none where a file names them.

    A policy does not say where the data is: a name to fill in stands for it.
    """
    if model == EXAMPLE_MODEL or "model" in read_settings(Path.cwd()).values:
        return []
    return ["--model", model if ":" in model else "FILE.py:NAME", "--data", "FILE.py:NAME"]


def command(*words: object) -> str:
    """A command to type, quoted for the shell."""
    return shlex.join(str(word) for word in words)
