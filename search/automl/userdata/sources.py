"""Data that is named as it lies on disk: what a name asks for, and how examples are shared out."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import parse_qsl

from automl.errors import DataError, nearest

if TYPE_CHECKING:  # settings are read before torch is loaded
    from torch import Tensor

T = TypeVar("T")
#: What folders of pictures are called by.
FOLDER: Final = "folder:"
#: Examples in a batch.
BATCH: Final = 32
#: Names of the parts of a data set.
PARTS: Final = {
    "train": "training",
    "training": "training",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
_KEYS: Final = ("size", "crop", "mean", "std", "channels")


@dataclass(frozen=True, slots=True)
class PicturePreparation:
    """What is done with a picture before the model sees it.

    Attributes:
        size: Height and width; None for those that the pictures have.
        crop: Share of the picture's shorter side that the middle which is kept has.
        mean, std: A value, or one a channel, of pixels from 0 to 1: (pixel - mean) / std.
        channels: 3 for colours, 1 for grey.
    """

    size: tuple[int, int] | None = None
    crop: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    channels: int = 3

    def normalised(self, pixels: Tensor) -> Tensor:
        """Pictures [n, channels, height, width] of pixels from 0 to 1 as the model takes them."""
        import torch

        mean, std = (torch.tensor(each).view(-1, 1, 1) for each in (self.mean, self.std))
        return (pixels - mean) / std


@dataclass(frozen=True, slots=True)
class Source:
    """What a name of data asks for.

    Attributes:
        name: As it was written.
        path: Of the folder or the file.
        preparation: Of pictures.
        asked: Which of it was asked for.
    """

    name: str
    path: Path
    preparation: PicturePreparation
    asked: frozenset[str]


def is_source(spec: str) -> bool:
    """Whether a name is that of a folder of pictures or of a file of arrays."""
    return spec.startswith(FOLDER) or spec.partition("?")[0].endswith(".npz")


def read_source(spec: str) -> Source:
    """Take apart `folder:PATH?size=224&mean=0.5` or `FILE.npz?mean=0.5`.

    Raises:
        DataError: An option that there is not, with the nearest, or a value that it cannot have.
    """
    place, _, written = spec.partition("?")
    given = dict(parse_qsl(written, keep_blank_values=True))
    for key in given:
        if key not in _KEYS:
            raise DataError(f"{spec}: no option {key!r}{nearest(key, _KEYS)}")
    channels = int(_number(spec, "channels", given.get("channels", "3"), (1, 3)))
    made = PicturePreparation(
        size=_size(spec, given["size"]) if "size" in given else None,
        crop=_number(spec, "crop", given.get("crop", "1")),
        mean=_numbers(spec, "mean", given.get("mean", "0"), channels),
        std=_numbers(spec, "std", given.get("std", "1"), channels),
        channels=channels,
    )
    if not 0.0 < made.crop <= 1.0:
        raise DataError(f"{spec}: crop is a share of the picture, above 0 and at most 1")
    if min(made.std) <= 0.0:
        raise DataError(f"{spec}: std has to be above 0")
    return Source(spec, Path(place.removeprefix(FOLDER)), made, frozenset(given))


def _size(spec: str, written: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", written)
    if match is None or not int(match[1]) or not int(match[2] or match[1]):
        raise DataError(f"{spec}: size is pixels, such as 224, or HEIGHTxWIDTH, found {written!r}")
    return int(match[1]), int(match[2] or match[1])


def _number(spec: str, key: str, written: str, allowed: Sequence[float] = ()) -> float:
    try:
        value = float(written)
    except ValueError:
        raise DataError(f"{spec}: {key} is a number, found {written!r}") from None
    if allowed and value not in allowed:
        raise DataError(f"{spec}: {key} is {' or '.join(map(str, allowed))}, found {written!r}")
    return value


def _numbers(spec: str, key: str, written: str, channels: int) -> tuple[float, ...]:
    values = tuple(_number(spec, key, each) for each in written.split(","))
    if len(values) not in (1, channels):
        raise DataError(
            f"{spec}: {key} has {len(values)} numbers, expected 1 or {channels}, one a channel"
        )
    return values


def in_drawn_order(examples: Sequence[T], names: Sequence[str]) -> list[T]:
    """Examples in an order that depends on their names alone, and not on their neighbours'."""
    drawn = [hashlib.sha256(name.encode()).digest() for name in names]
    order = sorted(range(len(examples)), key=drawn.__getitem__)
    return [examples[index] for index in order]


def held_out(examples: Sequence[T]) -> dict[str, list[T]]:
    """Four fifths of the training examples, and a fifth for validation."""
    first = len(examples) // 5
    return {"training": list(examples[first:]), "validation": list(examples[:first])}


def shared_out(examples: Sequence[T]) -> dict[str, list[T]]:
    """Three fifths of the examples for training, a fifth each for validation and the test."""
    first, second = len(examples) // 5, 2 * (len(examples) // 5)
    return {
        "training": list(examples[second:]),
        "validation": list(examples[:first]),
        "test": list(examples[first:second]),
    }
