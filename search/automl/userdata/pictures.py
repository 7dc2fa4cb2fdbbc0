"""Pictures in folders: one folder a class, or pictures alone."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from automl.errors import DataError, Raised, attempt, install_command
from automl.userdata.sources import (
    BATCH,
    PARTS,
    PicturePreparation,
    Source,
    held_out,
    in_drawn_order,
    shared_out,
)

if TYPE_CHECKING:
    from PIL.Image import Image

Tensor = torch.Tensor
_ENDINGS: Final = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
#: Fewest pictures that are shared out between training, validation and test.
_FEWEST: Final = 10


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture.

    Attributes:
        path: Its file.
        label: Number of its class; None where there are none.
    """

    path: Path
    label: int | None


@dataclass(frozen=True, slots=True)
class PictureBatches:
    """Batches of pictures, decoded each time that they are iterated."""

    pictures: Sequence[Picture]
    preparation: PicturePreparation

    def __len__(self) -> int:
        return -(-len(self.pictures) // BATCH)

    def __iter__(self) -> Iterator[tuple[Tensor, Any]]:
        first: tuple[int, ...] | None = None
        for start in range(0, len(self.pictures), BATCH):
            some = self.pictures[start : start + BATCH]
            decoded = [decode(each.path, self.preparation) for each in some]
            for picture, pixels in zip(some, decoded, strict=True):
                first = first or tuple(pixels.shape)
                if tuple(pixels.shape) != first:
                    sizes = " and ".join(f"{w}x{h}" for _, h, w in (first, pixels.shape))
                    raise DataError(
                        f"the pictures have several sizes ({sizes} in {picture.path.name}): say"
                        " which the model takes, as in ?size=224"
                    )
            labels = [each.label for each in some if each.label is not None]
            yield torch.stack(decoded), torch.tensor(labels) if labels else None


def picture_parts(source: Source) -> tuple[PictureBatches, ...]:
    """Training, validation and (where there are enough) test data of a folder.

    Folders train, val and test in it are taken as these parts; what is missing of them is taken
    from the pictures that there are, by their names. Classes are numbered in the alphabetical
    order of their folders' names.

    Raises:
        DataError: No such folder, no pictures in it, or classes that differ between parts.
    """
    _need_pillow()
    if not os.path.isdir(source.path):
        raise DataError(f"{source.name}: there is no folder {source.path}")
    own = {PARTS[each.name.lower()]: each for each in _folders(source.path) if _is_part(each)}
    if "training" in own:
        classes = _classes(own["training"])
        found = {part: _pictures(folder, classes, source) for part, folder in own.items()}
        if "validation" not in found:
            found |= held_out(found["training"])
    else:
        found = shared_out(_pictures(source.path, _classes(source.path), source, _FEWEST))
    parts = [found[part] for part in ("training", "validation", "test") if found.get(part)]
    return tuple(PictureBatches(pictures, source.preparation) for pictures in parts)


def _is_part(folder: Path) -> bool:
    return folder.name.lower() in PARTS


def _folders(folder: Path) -> list[Path]:
    return sorted(each for each in folder.iterdir() if each.is_dir() and each.name[0] != ".")


def _files(folder: Path) -> list[Path]:
    return sorted(
        each
        for each in folder.rglob("*")
        if each.suffix.lower() in _ENDINGS and each.is_file() and each.name[0] != "."
    )


def _classes(folder: Path) -> list[str]:
    """Names of the folders that hold pictures; none where the pictures lie in the folder itself."""
    return [each.name for each in _folders(folder) if _files(each)]


def _pictures(folder: Path, classes: list[str], source: Source, fewest: int = 1) -> list[Picture]:
    """The pictures of a folder, in an order that mixes the classes."""
    strange = [name for name in _classes(folder) if name not in classes]
    if strange:
        raise DataError(
            f"{source.name}: {folder} has the class {strange[0]}, which the training data has not"
        )
    found = [
        Picture(path, number)
        for number, name in enumerate(classes)
        if (folder / name).is_dir()
        for path in _files(folder / name)
    ]
    if not classes:
        found = [Picture(path, None) for path in _files(folder)]
    if len(found) < fewest:
        raise DataError(
            f"{source.name}: {folder} holds {len(found)} pictures ({' '.join(_ENDINGS)}), at least"
            f" {fewest} are needed"
        )
    return in_drawn_order(found, [each.path.relative_to(folder).as_posix() for each in found])


def decode(path: Path, preparation: PicturePreparation) -> Tensor:
    """A picture as the model takes it: float [channels, height, width].

    It is resized (bilinear) until the middle that is kept has the size that is asked for.

    Raises:
        DataError: The file cannot be read as a picture.
    """
    from PIL.Image import open as open_picture

    def read() -> Image:
        with open_picture(path) as opened:
            return opened.convert("RGB" if preparation.channels == 3 else "L")

    picture = attempt(read)
    if isinstance(picture, Raised):
        raise DataError(f"{path} cannot be read as a picture: {picture.error}")
    pixels = np.array(_cut(picture, preparation), dtype=np.float32) / 255.0
    planes = torch.from_numpy(pixels).view(*pixels.shape[:2], -1).permute(2, 0, 1)
    return preparation.normalised(planes[None])[0].contiguous()


def _cut(picture: Image, preparation: PicturePreparation) -> Image:
    """The middle of a picture, at the size that is asked for."""
    from PIL.Image import Resampling

    if preparation.size is None:
        height, width = (round(side * preparation.crop) for side in (picture.height, picture.width))
    else:
        height, width = preparation.size
        scale = max(height / picture.height, width / picture.width) / preparation.crop
        wide, high = round(picture.width * scale), round(picture.height * scale)
        if (wide, high) != picture.size:
            picture = picture.resize((max(wide, width), max(high, height)), Resampling.BILINEAR)
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return picture.crop((left, top, left + width, top + height))


def _need_pillow() -> None:
    try:
        import PIL  # noqa: F401
    except ImportError:
        raise DataError(
            f"pictures are read by Pillow, which is not installed: {install_command('images')}"
        ) from None
