"""Scenes to find things in: objects of CIFAR-10 on photos of flowers, drawn from a seed.

What training sees, what a search scores on and the test scenes are made of different objects and
photos: of the training images of both, but for the last of each; of these; of the test images.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TypedDict

import torch
from cifar import SHARED, load_cifar, shared_module
from torch import Tensor
from torch.nn import functional as F

#: The classes of CIFAR-10 that are found, by their number there.
CLASSES = {"airplane": 0, "automobile": 1, "horse": 7, "ship": 8}
SIZE, MOST_OBJECTS = 128, 4
#: Sides of an object in pixels.
SIDES = (20, 60)
#: Objects a class and photos, the last of the training images, that training does not see.
HELD_OUT_OBJECTS, HELD_OUT_PHOTOS = 400, 300


class Targets(TypedDict):
    """The objects of a scene: boxes float [k, 4] (left, top, right, bottom), labels int64 [k]."""

    boxes: Tensor
    labels: Tensor


@dataclass(frozen=True, slots=True)
class Parts:
    """What scenes are made of: objects [n, 3, 32, 32] a class, photos [n, 3, 160, 160]; bytes."""

    objects: tuple[Tensor, ...]
    photos: Tensor


@cache
def stored(part: str) -> Parts:
    """The images of "train", "held out" or "test"."""
    data = load_cifar(SHARED)
    images, labels = (
        (data.test, data.test_labels) if part == "test" else (data.train, data.train_labels)
    )
    objects = [images[labels == number].permute(0, 3, 1, 2) for number in CLASSES.values()]
    split = "val" if part == "test" else "train"
    reader = shared_module(SHARED / "data" / "load.py")
    photos = torch.from_numpy(reader.flowers(split)[0]).permute(0, 3, 1, 2)
    if part != "test":
        mixed = torch.randperm(len(photos), generator=torch.Generator().manual_seed(0))
        photos = photos[mixed]
        held = part == "held out"
        photos = photos[-HELD_OUT_PHOTOS:] if held else photos[:-HELD_OUT_PHOTOS]
        objects = [
            each[-HELD_OUT_OBJECTS:] if held else each[:-HELD_OUT_OBJECTS] for each in objects
        ]
    return Parts(tuple(each.contiguous() for each in objects), photos.contiguous())


def scenes(parts: Parts, count: int, seed: int) -> tuple[Tensor, list[Targets]]:
    """Images uint8 [count, 3, 128, 128] and what is to be found in each."""
    drawn = torch.Generator().manual_seed(seed)
    images, targets = [], []
    for _ in range(count):
        image, target = _scene(parts, drawn)
        images.append(image)
        targets.append(target)
    return torch.stack(images), targets


def _scene(parts: Parts, drawn: torch.Generator) -> tuple[Tensor, Targets]:
    photo = parts.photos[_below(len(parts.photos), drawn)]
    down, right = (_below(photo.shape[1] - SIZE + 1, drawn) for _ in range(2))
    image = photo[:, down : down + SIZE, right : right + SIZE].float()
    if _below(2, drawn):
        image = image.flip(2)
    boxes: list[tuple[int, int, int, int]] = []
    labels: list[int] = []
    for _ in range(1 + _below(MOST_OBJECTS, drawn)):
        width, height = (SIDES[0] + _below(SIDES[1] - SIDES[0] + 1, drawn) for _ in range(2))
        width = max(min(width, 3 * height // 2), 2 * height // 3)
        left, top = _below(SIZE - width + 1, drawn), _below(SIZE - height + 1, drawn)
        box = (left, top, left + width, top + height)
        if any(_covered(box, other) for other in boxes):
            continue
        labels.append(_below(len(CLASSES), drawn))
        boxes.append(box)
        _paste(image, parts.objects[labels[-1]], box, drawn)
    return image.round().byte(), Targets(
        boxes=torch.tensor(boxes, dtype=torch.float32), labels=torch.tensor(labels)
    )


def _below(end: int, drawn: torch.Generator) -> int:
    return int(torch.randint(end, (), generator=drawn))


def _covered(box: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    """Whether more than a tenth of the smaller of two boxes lies in the other."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    smaller = min((b[2] - b[0]) * (b[3] - b[1]) for b in (box, other))
    return width > 0 and height > 0 and width * height > smaller / 10


def _paste(
    image: Tensor, objects: Tensor, box: tuple[int, int, int, int], drawn: torch.Generator
) -> None:
    """An object of a class into its box, without the corners, its edge mixed with what is there."""
    left, top, right, bottom = box
    size = (bottom - top, right - left)
    things = objects[_below(len(objects), drawn)][None].float()
    if _below(2, drawn):
        things = things.flip(3)
    thing = F.interpolate(things, size, mode="bilinear", antialias=True, align_corners=False)[0]
    y, x = (torch.linspace(-1, 1, length) for length in size)
    inside = ((1 - (y[:, None] ** 4 + x**4)) * 6).clamp(0, 1)
    there = image[:, top:bottom, left:right]
    there += inside * (thing.clamp(0, 255) - there)
