"""The user's data and score: found, loaded, checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from automl.errors import DataError, OptionError
from automl.userdata.arrays import array_parts
from automl.userdata.data import Batches, Data
from automl.userdata.labels import without_classes
from automl.userdata.objects import call_user, load_factory, load_object
from automl.userdata.own_scores import checked_score
from automl.userdata.pictures import picture_parts
from automl.userdata.reading import TrainingBatches, read_batches
from automl.userdata.scores import ACCURACY_NAME, LOGITS, PSNR, Logits, Score, psnr, top1_accuracy
from automl.userdata.seeding import seeded
from automl.userdata.sources import BATCH, FOLDER, PARTS, is_source, read_source

#: Most validation and test inputs that are kept in memory.
MAX_VALIDATION, MAX_TEST = 5_000, 50_000


def load_data(spec: str, calibration: int, seed: int = 0) -> Data:
    """Read the user's data into memory.

    Args:
        spec: As for `load_factory`: a callable that returns (training, validation) or (training,
            validation, test), each an iterable of batches; or `folder:PATH` of pictures, or a file
            of arrays that ends in .npz, both with options behind a question mark.
        calibration: Most training inputs to keep for calibration.
        seed: Of the generators while the data is read, so that loaders which shuffle yield the
            same calibration images each time.

    Raises:
        DataError: The callable is missing or fails, or its batches are not as described.
    """
    with seeded(seed):
        parts = _parts_of(spec)
    return call_user(lambda: make_data(parts, calibration, spec, seed), f"{spec} failed", DataError)


def _parts_of(spec: str) -> Any:
    """What a name of data gives: its parts."""
    if is_source(spec):
        source = read_source(spec)
        return picture_parts(source) if spec.startswith(FOLDER) else array_parts(source)
    made = load_factory(spec, DataError)
    if not callable(made):
        raise DataError(f"{spec} is a {type(made).__name__}, expected a function")
    return call_user(made, f"{spec} failed", DataError)


def make_data(parts: Any, calibration: int, name: str = "data", seed: int = 0) -> Data:
    """`Data` of (training, validation) or (training, validation, test) iterables of batches.

    Args:
        parts: The iterables, also by name in a mapping; or `Data`, which is kept but for the limit
            on calibration.
        calibration: Most training inputs to keep for calibration.
        name: What the user calls the data, for errors.
        seed: Of the generators while each part is read.

    Raises:
        DataError: Another number of parts, or batches that are not as described.
    """
    if isinstance(parts, Data):
        head = parts.calibration.head(calibration)
        return Data(head, parts.validation, parts.test, parts.training)
    parts = _in_order(parts)
    if isinstance(parts, tuple | list) and any(map(_is_array, parts)):
        raise DataError(
            f"{name} gave arrays themselves, expected parts: ((inputs, labels), (inputs, labels)) "
            "for training and validation"
        )
    if not isinstance(parts, tuple | list) or len(parts) not in (2, 3):
        size = f" of {len(parts)}" if isinstance(parts, tuple | list) else ""
        raise DataError(
            f"{name} gave a {type(parts).__name__}{size}, "
            "expected (training, validation) or (training, validation, test)"
        )
    parts = [_in_batches(part) for part in parts]
    for part, source in zip(("training", "validation", "test"), parts, strict=False):
        if not isinstance(source, Iterable):
            way = ": give a torch.utils.data.DataLoader of it" if _is_dataset(source) else ""
            raise DataError(
                f"the {part} data of {name} is a {type(source).__name__}, not iterable{way}"
            )

    def read(part: int, title: str, images: int) -> Batches:
        with seeded(seed, parts[part]):  # each anew: what one draws changes nothing for the others
            return read_batches(parts[part], title, images)

    with seeded(seed, parts[0]):
        again = iter(parts[0]) is not parts[0]
    data = Data(
        read(0, "training", calibration),
        read(1, "validation", MAX_VALIDATION),
        read(2, "test", MAX_TEST) if len(parts) == 3 else None,
    )
    for part, batches in (("training", data.calibration), ("test", data.test)):
        if batches is not None and batches.form != data.form:
            raise DataError(
                f"the {part} inputs of {name} are {_described(batches)}, "
                f"its validation inputs {_described(data.validation)}"
            )
        if batches is not None and batches.input_shape != data.input_shape:
            raise DataError(
                f"the {part} inputs of {name} are {batches.input_shape[1:]}, "
                f"its validation inputs {data.input_shape[1:]}"
            )
    return replace(data, training=TrainingBatches(parts[0], data.form) if again else None)


def _in_order(parts: Any) -> Any:
    """Parts that are given by name, as they are given without."""
    if not isinstance(parts, Mapping):
        return parts
    named = {PARTS.get(str(key).lower(), key): part for key, part in parts.items()}
    order = ("training", "validation", *(["test"] if "test" in named else []))
    return [named[part] for part in order] if set(order) == set(named) else parts


def _in_batches(part: Any) -> Any:
    """A part of data in batches, where it is two arrays: one row an input, and their labels."""
    if not isinstance(part, tuple | list) or len(part) != 2 or not all(map(_is_array, part)):
        return part
    inputs, labels = part
    if len(inputs) != len(labels) or labels.ndim >= max(2, inputs.ndim):
        return part  # two batches of inputs alone
    inputs, labels = torch.as_tensor(inputs), torch.as_tensor(labels)
    rows = range(0, len(inputs), BATCH)
    return [(inputs[at : at + BATCH], labels[at : at + BATCH]) for at in rows]


def _is_dataset(value: Any) -> bool:
    return hasattr(value, "__getitem__") and hasattr(value, "__len__")


def _is_array(value: Any) -> bool:
    return isinstance(value, torch.Tensor | np.ndarray) and value.ndim > 0


def _described(batches: Batches) -> str:
    return "a float tensor" if batches.form is None else batches.form.describe()


def check_input_shape(wanted: Sequence[int] | None, data: Data) -> tuple[int, ...]:
    """Shape of one input that a network is priced at: the data's where none is asked for.

    Args:
        wanted: Batch 1 first. Its height and width may differ from the data's.
        data: What the network is scored on.

    Raises:
        OptionError: Another number of dimensions or of channels than the data's.
    """
    found = data.input_shape
    if wanted is None:
        return found
    if len(wanted) != len(found) or (len(found) == 4 and wanted[1] != found[1]):
        words = "x".join(map(str, found[1:]))
        raise OptionError(
            "input_shape", f"differs in more than its size from the data's, which is {words}"
        )
    return tuple(wanted)


@dataclass(frozen=True, slots=True)
class ChosenScore:
    """A score by which candidates are told apart.

    Attributes:
        score: Larger is better.
        name: What it is called.
        notes: Why it is that one, where that was not asked for.
    """

    score: Score
    name: str
    notes: tuple[str, ...] = ()


def choose_score(
    asked: str | Callable[..., Any] | None, dense: nn.Module, data: Data
) -> ChosenScore:
    """The score that is asked for; else top-1 accuracy, or logits where there are no classes.

    Args:
        asked: As for `load_score`, a function, or None.
        dense: The network as it came.
        data: Whose targets are held against its outputs.

    Raises:
        DataError: As `load_score`; or labels that are no class of the network's.
    """
    if callable(asked):
        name = getattr(asked, "__name__", type(asked).__name__)
        return ChosenScore(checked_score(asked, name), name)
    if asked is not None:
        return ChosenScore(load_score(asked, dense), asked)
    reason = without_classes(dense, data)
    if not reason:
        return ChosenScore(top1_accuracy, ACCURACY_NAME)
    note = f"{reason}: the score is how near outputs are to the dense network's ({LOGITS})"
    return ChosenScore(Logits(dense), LOGITS, (note,))


def load_score(spec: str, dense: nn.Module) -> Score:
    """The user's score, checked at each call.

    Args:
        spec: "logits", "psnr", or as for `load_object`: a function (model, batches) -> float,
            larger is better.
        dense: The network as it came, which "logits" compares with.

    Raises:
        DataError: No such function; when called, that it failed or gave no finite number.
    """
    if spec == LOGITS:
        return Logits(dense)
    if spec == PSNR:
        return psnr
    if ":" not in spec:
        raise DataError(
            f"score {spec!r} is not understood: write {LOGITS}, {PSNR}, file.py:name or"
            " package.module:name"
        )
    function = load_object(spec, DataError)
    if not callable(function):
        raise DataError(f"{spec} is a {type(function).__name__}, expected a function")
    return checked_score(function, spec)
