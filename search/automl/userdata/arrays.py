"""Arrays in a NumPy file: inputs and labels, of parts that are named or shared out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final
from zipfile import ZipFile, ZipInfo

import numpy as np
import torch
from numpy.lib.format import read_array_header_1_0, read_array_header_2_0, read_magic
from numpy.typing import NDArray

from automl.documents import files_beside, shown
from automl.errors import DataError, Raised, attempt, nearest
from automl.userdata.archives import members
from automl.userdata.sources import BATCH, PARTS, Source, held_out, in_drawn_order, shared_out

Tensor = torch.Tensor
_INPUTS: Final = ("x", "images", "inputs", "data")
_LABELS: Final = ("y", "labels", "targets", "label")
#: Bytes that the number of a row takes while rows are shared out, and what may be taken besides.
_ROW_BYTES, _BESIDES = 250, 64_000_000
#: What reads the header of an array by the version of its form.
_VERSIONS: Final = {(1, 0): read_array_header_1_0, (2, 0): read_array_header_2_0}
#: Channels that a picture may have.
_CHANNELS: Final = (1, 3, 4)


@dataclass(frozen=True, slots=True)
class ArrayBatches:
    """Batches of rows of arrays.

    Attributes:
        inputs: As the file holds them.
        labels: One an input; None where there are none.
        rows: Which of them, in order.
        source: What is done with them.
    """

    inputs: NDArray[Any]
    labels: NDArray[Any] | None
    rows: list[int]
    source: Source

    def __len__(self) -> int:
        return -(-len(self.rows) // BATCH)

    def __iter__(self) -> Iterator[tuple[Tensor, Any]]:
        for start in range(0, len(self.rows), BATCH):
            here = self.rows[start : start + BATCH]
            labels = None if self.labels is None else _tensor(self.labels[here])
            yield _prepared(self.inputs[here], self.source), labels


def array_parts(source: Source) -> tuple[ArrayBatches, ...]:
    """Training, validation and test data of a file of arrays.

    Inputs are called x, images, inputs or data, labels y, labels or targets, before or behind
    train, val or test ("x_train", "val_labels"). Without parts the rows are shared out.

    Raises:
        DataError: No such file, none that NumPy reads, or arrays that do not belong together.
    """
    path = source.path
    if not os.path.lexists(path):
        raise DataError(f"there is no file {path}{nearest(path.name, files_beside(path))}")
    _check_file(path)
    arrays = attempt(lambda: _read(path))
    if isinstance(arrays, Raised):
        raise DataError(f"{path} cannot be read: {arrays.error}")
    for unused in source.asked & {"size", "crop", "channels"}:
        raise DataError(f"{source.name}: {unused} is of folders of pictures, not of arrays")
    named = _named(arrays, source)
    parts = {part: _part(found, part, source) for part, found in named.items()}
    if set(parts) == {""}:
        parts = _split(parts[""], shared_out)
    if "training" not in parts:
        raise DataError(f"{path} has no arrays for training: it has {_names(arrays)}")
    if "validation" not in parts:
        parts |= _split(parts["training"], held_out)
    return tuple(parts[part] for part in ("training", "validation", "test") if part in parts)


def _check_file(path: Path) -> None:
    """Refuse arrays that are not what they say, before memory is taken for them."""
    for each in members(path, DataError):
        reason = attempt(lambda each=each: _misfit(path, each))  # type: ignore[misc]
        if reason:
            text = reason.error if isinstance(reason, Raised) else reason
            raise DataError(f"{path} cannot be read: {shown(each.filename)}: {text}")


def _misfit(path: Path, member: ZipInfo) -> str:
    """Why a member is no array of numbers or text; "" where it is one."""
    with ZipFile(path) as archive, archive.open(member) as file:
        version = read_magic(file)
        if version not in _VERSIONS:
            return f"an array of NumPy's format {version[0]}.{version[1]}, whose fields have names"
        shape, _, kind = _VERSIONS[version](file)
        said = prod(shape) * kind.itemsize
        held = member.file_size - file.tell()
    if kind.hasobject:
        return "it holds objects, which are not unpickled (allow_pickle=False)"
    if said != held or min(shape, default=0) < 0:
        return f"its shape {shown(shape)} takes {said:,} bytes, {held:,} are there"
    return ""


def _read(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path, allow_pickle=False) as found:
        return dict(found)


def _split(
    whole: ArrayBatches, share: Callable[[list[int]], dict[str, list[int]]]
) -> dict[str, ArrayBatches]:
    rows = in_drawn_order(whole.rows, [str(row) for row in whole.rows])
    if len(rows) < 10:
        raise DataError(f"{whole.source.name} has {len(rows)} rows, at least 10 are needed")
    return {
        part: ArrayBatches(whole.inputs, whole.labels, some, whole.source)
        for part, some in share(rows).items()
    }


def _named(
    arrays: Mapping[str, NDArray[Any]], source: Source
) -> dict[str, dict[str, NDArray[Any]]]:
    """Inputs and labels by part; "" where the names say no part."""
    found: dict[str, dict[str, NDArray[Any]]] = {}
    for name, array in arrays.items():
        words = name.lower().replace("-", "_").split("_")
        part = next((PARTS[word] for word in words if word in PARTS), "")
        rest = [word for word in words if word not in PARTS]
        if len(rest) == 1 and rest[0] in (*_INPUTS, *_LABELS):
            kind = "inputs" if rest[0] in _INPUTS else "labels"
            found.setdefault(part, {})[kind] = array
    if not any("inputs" in each for each in found.values()):
        raise DataError(
            f"{source.path} has no inputs: it has {_names(arrays)}, expected x and"
            " y, x_train and y_train, or train_images and train_labels"
        )
    return {part: each for part, each in found.items() if "inputs" in each}


def _names(arrays: Mapping[str, NDArray[Any]]) -> str:
    return ", ".join(shown(name)[1:-1] for name in list(arrays)[:8]) or "nothing"


def _part(found: Mapping[str, NDArray[Any]], part: str, source: Source) -> ArrayBatches:
    inputs, labels = found["inputs"], found.get("labels")
    if not inputs.size:
        raise DataError(f"{source.path}: the inputs {part} are empty, of the shape {inputs.shape}")
    if inputs.ndim == 0 or (labels is not None and labels.shape[:1] != inputs.shape[:1]):
        shapes = f"{inputs.shape} and {None if labels is None else labels.shape}"
        raise DataError(f"{source.path}: inputs and labels {part} have the shapes {shapes}")
    if len(inputs) * _ROW_BYTES > 9 * source.path.stat().st_size + _BESIDES:
        raise DataError(f"{source.path}: {len(inputs):,} inputs of a few bytes each are too many")
    return ArrayBatches(inputs, labels, list(range(len(inputs))), source)


def _tensor(labels: NDArray[Any]) -> Any:
    """Labels as a tensor; text as a list."""
    return torch.from_numpy(labels) if labels.dtype.kind in "biuf" else labels.tolist()


def _prepared(inputs: NDArray[Any], source: Source) -> Tensor:
    """Bytes of pictures as floats from 0 to 1, channels first; other arrays as they are."""
    pixels = inputs.dtype == np.uint8 and inputs.ndim in (3, 4)
    values = torch.from_numpy(inputs.astype(np.float32) / 255.0 if pixels else inputs)
    if pixels and values.dim() == 3:
        values = values[:, None]
    elif values.dim() == 4 and values.shape[-1] in _CHANNELS and values.shape[1] not in _CHANNELS:
        values = values.permute(0, 3, 1, 2).contiguous()
    if source.asked & {"mean", "std"}:
        values = source.preparation.normalised(values.float())
    return values
