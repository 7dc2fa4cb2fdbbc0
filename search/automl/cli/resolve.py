"""Flags and automl.toml made into what the pipeline asks for. Flags win; the example is default."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from automl.cli.flags import flags_of
from automl.errors import UsageError
from automl.example import EXAMPLES, example_of, find_example
from automl.options import Options, SearchOptions, TaskOptions, options_of
from automl.userdata import Settings, read_settings

if TYPE_CHECKING:
    from torch import nn

    from automl.compression import CompressionConfig
    from automl.pipeline import Task

#: The example where neither a model nor an example is named.
USUAL: Final = EXAMPLES[0].name


def settle(
    flags: Mapping[str, object],
    *own: type[Options],
    without: Collection[str] = (),
    example: str | None = USUAL,
) -> Settings:
    """The settings of this folder with the flags that were given, and an example for the rest.

    Args:
        flags: By name; None where one was not given.
        own: Options of the command that are no keys of automl.toml.
        without: Keys of the file that mean something else to the command.
        example: Where neither a model nor an example is named; None leaves it open.

    Raises:
        UsageError: A broken automl.toml, data or weights without a model, or a model and an
            example.
        OptionError: A value of the wrong kind; says where it was given.
    """
    known = {each.name: each for each in flags_of(TaskOptions, SearchOptions, *own)}
    filed = read_settings(Path.cwd()).but({*without, *_replaced(flags)})
    settings = filed.with_flags({known[name]: flags[name] for name in flags})
    named = settings.values.get("example")
    if "model" in settings.values:
        if named is not None:
            raise UsageError("a model of yours and an example are named: give one of them")
        return settings
    if settings.values.keys() & {"data", "weights"}:
        raise UsageError("data and weights belong to a model of yours: give --model too")
    chosen = named or example
    return settings if chosen is None else with_example(settings, chosen)


def _replaced(flags: Mapping[str, object]) -> Collection[str]:
    """Keys of automl.toml that are of another model than the command line's."""
    if flags.get("model") is not None:
        return ("example",)
    of_a_model = {each.name for each in options_of(TaskOptions)} - {"example"}
    return of_a_model if flags.get("example") is not None else ()


def with_example(settings: Settings, name: str) -> Settings:
    """The settings with what an example says for all of a task that was not given."""
    known = {each.name: each for each in options_of(TaskOptions)}
    written = find_example(name).values.items()
    filled = {key: known[key].checked(v) for key, v in written if key not in settings.values}
    return settings.with_values(**filled).but(("example",))


def example_for(model: str) -> str:
    """The example whose model a policy is for; the usual one where it is for none."""
    found = example_of(model)
    return USUAL if found is None else found.name


def load_task(settings: Settings, making: CompressionConfig | None = None) -> Task:
    """Load the model, its data and its score, and run the model once.

    Args:
        settings: Where they are.
        making: How the calibration inputs are read, where it is not the settings that say.

    Raises:
        ModelError, DataError: What cannot be used, by name.
        UsageError: A model without data, or an input shape that is not like the data's.
    """
    from automl.cli.terminal import leave_stdout
    from automl.pipeline import load_task as load

    leave_stdout()
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
    from automl.cli.terminal import leave_stdout

    leave_stdout()
    named = settings.make(TaskOptions)
    assert named.model is not None  # settle() sees to it
    if named.input_shape is None and named.data is None:
        raise UsageError(f"--model {named.model} needs --input-shape CxHxW or --data")
    model = userdata.load_model(named.model, named.weights)
    if named.input_shape is not None:
        return model, named.input_shape
    assert named.data is not None
    data = userdata.load_data(named.data, calibration=1)
    return userdata.ready_for(model, data), data.input_shape


def flags_again(settings: Settings) -> list[str]:
    """The flags which name the model, for the next command; none where automl.toml names it."""
    filed = read_settings(Path.cwd()).values
    words: list[str] = []
    example = example_of(settings.values["model"])
    if example is not None and example != EXAMPLES[0] and filed.get("example") != example.name:
        words = ["--example", example.name]
    known = {} if example is None else example.values
    for key in ("model", "weights", "data", "score"):
        value = settings.values.get(key)
        if value not in (None, filed.get(key), known.get(key)):
            words += [f"--{key}", str(value)]
    return words


def flags_for(model: str) -> list[str]:
    """The flags that a policy's model needs in the next command; none where a file names them.

    A policy does not say where the data is: a name to fill in stands for it.
    """
    if example_of(model) is not None or "model" in read_settings(Path.cwd()).values:
        return []
    return ["--model", model if ":" in model else "FILE.py:NAME", "--data", "FILE.py:NAME"]


def command(*words: object) -> str:
    """A command to type, quoted for the shell."""
    return shlex.join(str(word) for word in words)
