"""The user's model: loaded, taken out of what wraps it, and made ready for the data."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from automl.errors import DataError, ModelError
from automl.network import InputForm, form_of, judged_tensors, named_tensors, styles_of, taking_rows
from automl.userdata.data import Data
from automl.userdata.exported import EXPORTED, from_exported, is_exported, load_exported
from automl.userdata.objects import call_user, load_factory
from automl.userdata.weight_files import refuse_as_model
from automl.userdata.weights import load_weights

Tensor = torch.Tensor
#: What files are called that hold weights, or models that are not read.
_FILES: Final = (".pt", ".pth", ".bin", ".ckpt", ".tar", ".safetensors", ".onnx", ".pkl", ".h5")
_WHOLE: Final = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
#: Modules that a note names.
_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class ReadyModel:
    """A model as a search takes it.

    Attributes:
        model: In evaluation mode, on the CPU, of 32-bit floats.
        notes: What was done to make it so, and what is particular about it.
    """

    model: nn.Module
    notes: tuple[str, ...] = ()


def load_model(spec: str, weights: Path | None = None) -> nn.Module:
    """The model that a factory makes, its weights loaded, as `plain_model` makes it.

    Args:
        spec: As for `load_factory`: a callable that returns a module, or a module.
        weights: A file holding a state dict, read with `weights_only=True`.

    Raises:
        ModelError: The factory does not make a module, or the weights do not fit it.
    """
    return load_ready(spec, weights).model


def load_ready(spec: str, weights: Path | None = None) -> ReadyModel:
    """As `load_model`, with what was done to make it so."""
    if ":" not in spec and Path(spec).suffix.lower() in _FILES and os.path.isfile(spec):
        refuse_as_model(Path(spec))
    made = load_exported(Path(spec)) if spec.endswith(EXPORTED) else load_factory(spec)
    if not isinstance(made, nn.Module) and not is_exported(made):
        if not callable(made):
            raise ModelError(f"{spec} is a {type(made).__name__}, expected a function or a module")
        made = call_user(made, f"{spec} failed", ModelError)
    _refuse_scripted(made)
    if not isinstance(made, nn.Module) and not is_exported(made):
        raise ModelError(f"{spec} returned a {type(made).__name__}, expected a torch.nn.Module")
    unwrapped = _unwrapped(made)
    if weights is not None:
        load_weights(unwrapped, weights)
    return plain_model(unwrapped)


def plain_model(model: Any) -> ReadyModel:
    """A model taken out of what wraps it, in evaluation mode, on the CPU, of 32-bit floats.

    It is the given model itself where that has 32-bit floats, put into evaluation mode; of an
    exported program (`torch.export`), a module of the same weights.

    Raises:
        ModelError: It is no module of layers, as TorchScript is none; or an exported program that
            cannot be made one.
    """
    _refuse_scripted(model)
    plain = _unwrapped(_module(model))
    tensors = [*plain.named_parameters(), *plain.named_buffers()]
    for name, each in tensors:
        if each.is_meta:
            raise ModelError(f"the model has no weights: {name} is on the meta device; load them")
    kinds = {each.dtype for _, each in tensors if each.dtype.is_floating_point} - {torch.float32}
    notes = list(_by_batch(plain))
    if kinds:
        words = " and ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
        notes.append(f"the model has {words} weights: it is searched and written in float32")
        plain = call_user(lambda: copy.deepcopy(plain), "the model cannot be copied", ModelError)
        plain = plain.float()
    return ReadyModel(plain.to("cpu").eval(), tuple(notes))


def _module(model: Any) -> Any:
    """A module or an exported program, nothing else.

    Raises:
        ModelError: It is neither; with what to give in its place.
    """
    if isinstance(model, nn.Module) or is_exported(model):
        return model
    kind = type(model).__name__
    kind = f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"
    if isinstance(model, type) and issubclass(model, nn.Module):
        raise ModelError(f"the model is the class {model.__name__}: give an instance of it")
    if isinstance(model, Mapping):
        raise ModelError(f"the model is {kind} of weights: give the module that they are of")
    if callable(model):
        raise ModelError(f"the model is {kind}: give the torch.nn.Module that it is or makes")
    raise ModelError(f"the model is {kind}, expected a torch.nn.Module")


def _by_batch(model: nn.Module) -> tuple[str, ...]:
    """What to say of batch norms without statistics of their own; nothing where there are none."""
    kind = nn.modules.batchnorm._BatchNorm
    names = [
        name
        for name, each in model.named_modules()
        if isinstance(each, kind) and each.running_mean is None
    ]
    if not names:
        return ()
    said = ", ".join(names[:_NAMED]) + " and others" * (len(names) > _NAMED)
    return (
        f"batch norms without running statistics normalise by the batch that they are given, of"
        f" one input on a device: {said}; what is scored in larger batches may differ there",
    )


def _refuse_scripted(made: Any) -> None:
    if isinstance(made, torch.jit.ScriptModule | torch.jit.ScriptFunction):
        raise ModelError(
            "a TorchScript model has no layers that can be cut: give the torch.nn.Module that it"
            " was scripted or traced from"
        )
    if type(made).__name__ == "UnflattenedModule":
        raise ModelError("an unflattened program has no layers: give the exported program itself")


def _unwrapped(model: Any) -> nn.Module:
    """What torch.compile, DataParallel and DistributedDataParallel wrap, at the top or inside.

    Of an exported program, the module that it was.
    """
    while (inner := _wrapped(model)) is not None:
        model = inner
    if is_exported(model):
        return from_exported(model)
    return _unwrapped_inside(model)


def _unwrapped_inside(model: nn.Module) -> nn.Module:
    inside = [name for name, each in model.named_modules() if _wrapped(each) is not None]
    if not inside:
        return model
    model = call_user(lambda: copy.deepcopy(model), "the model cannot be copied", ModelError)
    for name in inside:
        parent, _, leaf = name.rpartition(".")
        if name.startswith(tuple(f"{other}." for other in inside)):
            continue  # unwrapped with what is around it
        setattr(model.get_submodule(parent), leaf, _unwrapped(model.get_submodule(name)))
    return model


def _wrapped(model: Any) -> nn.Module | None:
    """The module that a wrapper of torch's is around; None of another module."""
    parallel = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    inner = model.module if isinstance(model, parallel) else None
    if type(model).__name__ == "OptimizedModule":
        inner = getattr(model, "_orig_mod", None)
    return inner if isinstance(inner, nn.Module) else None


def ready_for(model: nn.Module, data: Data) -> nn.Module:
    """The model as it takes the data's inputs, run on two of them.

    It is the model itself where it takes one float tensor and leaves that as it is.

    Raises:
        DataError: It does not take them.
        ModelError: Its outputs are not finite, or have lost the batch.
    """
    rows = data.validation.head(2).inputs
    form = data.form or form_of(rows)
    refused: DataError | None = None
    for style in styles_of(model, form):
        taking = taking_rows(model, form, style, rows[:1], copies=False)
        shown = rows.clone()
        try:
            outputs = _run(taking, shown, form)
        except DataError as error:
            refused = refused or error
            continue
        _check_outputs(outputs, len(rows))
        if torch.equal(shown, rows):
            return taking
        return taking_rows(model, form, style, rows[:1], copies=True)
    assert refused is not None  # there is at least one style
    raise refused


def _run(model: nn.Module, rows: Tensor, form: InputForm) -> Any:
    shape = f"inputs of shape {(1, *form.tensors[0].shape)}" if form.plain else form.describe()
    failing = f"the model does not take {shape}"
    with torch.no_grad():
        try:
            return call_user(lambda: model(rows), failing, DataError)
        except DataError as error:
            kind = form.tensors[0].dtype
            if form.single and kind in _WHOLE:
                raise DataError(f"{error}; scale {kind} images to floats first") from error
            if form.single and _is_channels_last(form.tensors[0].shape):
                raise DataError(f"{error}; torch has the channels of images first") from error
            raise


def _is_channels_last(shape: Sequence[int]) -> bool:
    """Whether the shape of an input is that of an image with its channels last."""
    return len(shape) == 3 and shape[-1] in (1, 3, 4) and shape[0] not in (1, 3, 4)


def _check_outputs(outputs: Any, inputs: int) -> None:
    """Raise ModelError where there is no finite float tensor with a part for each input."""
    tensors = dict(named_tensors(outputs))
    if not tensors:
        raise ModelError(f"the model returns a {type(outputs).__name__} without any tensor in it")
    judged = judged_tensors(outputs, inputs)
    if not judged:
        shapes = ", ".join(f"{name} {tuple(each.shape)}" for name, each in tensors.items())
        raise ModelError(
            f"{inputs} inputs give outputs of shape {shapes}: none holds a float for each input"
        )
    for name, each in judged.items():
        if not torch.isfinite(each).all():
            raise ModelError(
                f"the model's outputs on the validation data are NaN or infinite ({name})"
            )
