"""A float network as ONNX."""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import onnx
import torch
from torch import nn

from automl.errors import ModelError, Raised, attempt
from automl.files import naming, scratch_folder
from automl.network import InputHook, input_hook, named_tensors

Tensor = torch.Tensor
#: Where the exporter says that a call of the user's code failed.
_PLACE: Final = re.compile(r'File "([^"]+)", line (\d+), in \w+\n\s*(.+)')
#: Colours of a terminal.
_COLOURS: Final = re.compile("\x1b\\[[0-9;]*m")
#: Who tells what the exporters try.
_LOGGERS: Final = ("torch.onnx", "torch.export", "torch.fx.experimental.symbolic_shapes")
#: What torch.export raises where values decide what runs.
_ON_VALUES: Final = ("GuardOnDataDependentSymNode", "DataDependentOutputException")


#: What a network is called inside of what is exported in its place.
_INNER: Final = "network_within"


@dataclass(frozen=True, slots=True)
class BetweenTensors:
    """A network between tensors.

    Attributes:
        network: Takes and gives them.
        given: An example of what it takes.
        inputs, outputs: What its file calls them.
    """

    network: nn.Module
    given: tuple[Tensor, ...]
    inputs: list[str]
    outputs: list[str]


class _OnTensors(nn.Module):
    """A network that takes the tensors of an input, and gives those of its output."""

    def __init__(self, model: nn.Module, hook: InputHook | None) -> None:
        super().__init__()
        self.add_module(_INNER, model)
        self._hook = hook
        # Exporters put all modules into the outermost's mode when they are done.
        self.training = model.training

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The tensors of the output, in order."""
        args, kwargs = (tensors, {}) if self._hook is None else self._hook.arranged(tensors)
        model = self.get_submodule(_INNER)
        return tuple(each for _, each in named_tensors(model(*args, **kwargs)))


def float_onnx(model: nn.Module, input_shape: Sequence[int], *, thorough: bool = False) -> bytes:
    """A float network as ONNX, batch 1; its inputs and outputs have the names of the user's.

    Args:
        model: In eval mode, on the CPU.
        input_shape: Of one input, batch 1 first.
        thorough: Use the exporter that captures the whole program (seconds per model); otherwise
            the one that records a run, which is enough to measure a network's time.

    Raises:
        ModelError: The exporter refuses the model; says why, and where in its code.
        OSError: There is no room for its file.
    """
    with quiet(), scratch_folder() as folder:
        file = folder / "model.onnx"

        def export() -> BetweenTensors:
            exported = between_tensors(model, torch.zeros(tuple(input_shape)))
            torch.onnx.export(
                exported.network,
                exported.given,
                file,
                dynamo=thorough,
                verbose=False,
                external_data=False,
                input_names=exported.inputs,
                output_names=exported.outputs,
            )
            return exported

        answer = attempt(export)
        if isinstance(answer, Raised):
            with naming(folder):
                _raise_no_room(answer.error)
            raise ModelError(
                f"the model cannot be exported to ONNX: {cause_of(answer.error)}"
            ) from answer.error
        content = file.read_bytes()
        return content if answer.network is model else _with_own_names(content)


def _raise_no_room(error: BaseException | None) -> None:
    """Raise what says that a disk is full, which is not the model's fault."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise error
        error = error.__cause__


def _with_own_names(content: bytes) -> bytes:
    """A file whose weights are called as the model calls them, not as part of what is around it."""
    proto = onnx.load_from_string(content)
    own = {each.name: each.name.removeprefix(f"{_INNER}.") for each in proto.graph.initializer}
    for each in proto.graph.initializer:
        each.name = own[each.name]
    for node in proto.graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = own.get(name, name)
    for output in proto.graph.output:  # a weight that is put out as it is
        output.name = own.get(output.name, output.name)
    written: bytes = proto.SerializeToString()
    return written


def between_tensors(model: nn.Module, zeros: Tensor) -> BetweenTensors:
    """A network as exporters take it: it is the model itself where that gives nothing but tensors.

    Args:
        model: In eval mode, on the CPU.
        zeros: An input, where it takes one float tensor.
    """
    hook = input_hook(model)
    if hook is not None and hook.form.plain:
        hook = None
    rows = zeros if hook is None else hook.example
    with torch.no_grad():
        output = model(rows)
    parts = output if isinstance(output, tuple | list) else [output]
    if hook is None and all(isinstance(each, Tensor) for each in parts):
        return BetweenTensors(model, (rows,), ["input"], ["output"])
    given = (rows,) if hook is None else tuple(hook.form.split(rows))
    inputs = ["input"] if hook is None else [each.name for each in hook.form.tensors]
    outputs = [name for name, _ in named_tensors(output)]
    outputs = [
        f"output.{name}" if name in inputs or name[0].isdecimal() else name for name in outputs
    ]
    return BetweenTensors(_OnTensors(model, hook), given, inputs, outputs)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing of what the exporters print, warn and log."""
    loggers = {logging.getLogger(name): logging.getLogger(name).level for name in _LOGGERS}
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            torch.no_grad(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")  # the exporters warn of their own deprecations
            yield
    finally:
        for logger, level in loggers.items():
            logger.setLevel(level)


def cause_of(error: BaseException) -> str:
    """Why an exporter refuses a model, in one line: the first cause, and where in user code."""
    texts = []
    cause: BaseException | None = error
    while cause is not None:
        error, cause = cause, cause.__cause__
        texts.append(_COLOURS.sub("", str(error)))
    places = [each for text in texts for each in _PLACE.findall(text)]
    kind = type(error).__name__
    lines = texts[-1].strip().splitlines()
    said = f"{kind}: {lines[0].strip()}" if lines else kind
    if kind in _ON_VALUES:
        said = "what it does depends on values that it computes"
    if not places:
        return said
    file, line, code = places[-1]
    return f"{said} ({file}:{line}: {code.strip()})"
