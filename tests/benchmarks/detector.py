"""A small detector like YOLOv8's (Jocher et al., 2023) and the scenes that it looks at.

Backbone of C2f blocks, a neck that goes up and down once, a head without anchors at two scales.
`train_detector.py` trains it. `trained`, `loaders` and `map50` are for `--model`, `--data` and
`--score`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from scenes import CLASSES, Targets, scenes, stored
from torch import Tensor, nn
from torch.nn import functional as F

WEIGHTS = Path(__file__).resolve().parents[2] / "build" / "trained" / "detector.pt"
STRIDES = (8, 16)
#: Boxes below this score are not looked at; of two that overlap by more, the lower one is dropped.
LEAST_SCORE, OVERLAP, MOST_BOXES = 0.01, 0.6, 100
#: Boxes [boxes, 4] as left, top, right, bottom in pixels, with a score and a class each.
Found = tuple[Tensor, Tensor, Tensor]


class Conv(nn.Sequential):
    """Convolution, batch norm, SiLU."""

    def __init__(self, before: int, after: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(after),
            nn.SiLU(inplace=True),
        )


class Bottleneck(nn.Module):
    """Two convolutions, added to their input where `add`."""

    def __init__(self, width: int, add: bool) -> None:
        super().__init__()
        self.cv1, self.cv2, self.add = Conv(width, width, 3), Conv(width, width, 3), add

    def forward(self, x: Tensor) -> Tensor:
        """Maps of the same shape."""
        y = self.cv2(self.cv1(x))
        return x + y if self.add else y


class C2f(nn.Module):
    """Two halves, of which the second goes through bottlenecks; all that came of it is joined."""

    def __init__(self, before: int, after: int, depth: int, add: bool = True) -> None:
        super().__init__()
        self.cv1 = Conv(before, after)
        self.cv2 = Conv((2 + depth) * after // 2, after)
        self.m = nn.ModuleList(Bottleneck(after // 2, add) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        """Maps of `after` channels."""
        y = list(self.cv1(x).chunk(2, 1))
        y.extend(m(y[-1]) for m in self.m)
        return self.cv2(torch.cat(y, 1))


class SPPF(nn.Module):
    """One maximum after another, of wider and wider places."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cv1, self.cv2 = Conv(width, width // 2), Conv(2 * width, width)
        self.pool = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Maps of the same shape."""
        y = [self.cv1(x)]
        y.extend(self.pool(y[-1]) for _ in range(3))
        return self.cv2(torch.cat(y, 1))


class Head(nn.Module):
    """Scores of the classes and distances to the four sides, for each place of each scale."""

    def __init__(self, widths: tuple[int, ...], inner: int = 32) -> None:
        super().__init__()
        self.sides = nn.ModuleList(self._branch(width, inner, 4) for width in widths)
        self.classes = nn.ModuleList(self._branch(width, inner, len(CLASSES)) for width in widths)
        for branch in self.classes:
            nn.init.constant_(branch[-1].bias, -4.6)

    def _branch(self, width: int, inner: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(
            Conv(width, inner, 3), Conv(inner, inner, 3), nn.Conv2d(inner, outputs, 1)
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """One tensor [n, 4 + classes, h, w] a scale, as the convolutions give them."""
        return [
            torch.cat([sides(x), classes(x)], 1)
            for x, sides, classes in zip(maps, self.sides, self.classes, strict=True)
        ]


class Detector(nn.Module):
    """Input [n, 3, h, w], both multiples of 16.

    In training the head's maps, a list; else (boxes and scores [n, 4 + classes, places], the list).
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(Conv(3, 16, 3, 2), Conv(16, 32, 3, 2), C2f(32, 32, 1))
        self.stage3 = nn.Sequential(Conv(32, 64, 3, 2), C2f(64, 64, 2))
        self.stage4 = nn.Sequential(Conv(64, 128, 3, 2), C2f(128, 128, 1), SPPF(128))
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.top_down = C2f(64 + 128, 64, 1, add=False)
        self.down = Conv(64, 64, 3, 2)
        self.bottom_up = C2f(64 + 128, 128, 1, add=False)
        self.head = Head((64, 128))

    def forward(self, images: Tensor) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """What was found, and the maps that it was found in."""
        fine = self.stage3(self.stem(images))
        coarse = self.stage4(fine)
        fine = self.top_down(torch.cat([self.up(coarse), fine], 1))
        coarse = self.bottom_up(torch.cat([self.down(fine), coarse], 1))
        maps = self.head([fine, coarse])
        return maps if self.training else (decoded(maps), maps)


def decoded(maps: list[Tensor]) -> Tensor:
    """Left, top, right, bottom in pixels, then scores of the classes: [n, 4 + classes, places]."""
    found = []
    for map_, stride in zip(maps, STRIDES, strict=True):
        height, width = map_.shape[2:]
        sides = F.softplus(map_[:, :4]) * stride
        x = (torch.arange(width, device=map_.device) + 0.5) * stride
        y = (torch.arange(height, device=map_.device)[:, None] + 0.5) * stride
        left, top, right, bottom = sides.unbind(1)
        boxes = torch.stack([x - left, y - top, x + right, y + bottom], 1)
        found.append(torch.cat([boxes, map_[:, 4:].sigmoid()], 1).flatten(2))
    return torch.cat(found, 2)


def trained() -> nn.Module:
    """The network with the weights that `train_detector.py` wrote."""
    model = Detector()
    model.load_state_dict(torch.load(WEIGHTS, map_location="cpu", weights_only=True))
    return model.eval()


Batches = list[tuple[Tensor, list[Targets]]]


def loaders() -> tuple[Batches, Batches, Batches]:
    """Scenes of what training saw, of what it did not see, and of the test images."""
    calibration, validation, test = (
        scenes(stored(part), count, seed)
        for part, count, seed in (("train", 1024, 1), ("held out", 512, 2), ("test", 1024, 3))
    )
    return tuple(
        [(images[i : i + 64] / 255, targets[i : i + 64]) for i in range(0, len(targets), 64)]
        for images, targets in (calibration, validation, test)
    )


def overlaps(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of boxes [a, 4] and [b, 4]: [a, b]."""
    sides = torch.minimum(first[:, None, 2:], second[:, 2:])
    sides = (sides - torch.maximum(first[:, None, :2], second[:, :2])).clamp_min(0)
    both = sides.prod(-1)
    one, other = ((each[:, 2:] - each[:, :2]).prod(-1) for each in (first, second))
    return both / (one[:, None] + other - both).clamp_min(1e-9)


def suppressed(found: Tensor) -> Found:
    """Of one image's [4 + classes, places] the boxes that no better one of their class covers."""
    scores, classes = found[4:].max(0)
    order = scores.argsort(descending=True, stable=True)[:MOST_BOXES]
    order = order[scores[order] > LEAST_SCORE]
    boxes, scores, classes = found[:4, order].T, scores[order], classes[order]
    covers = (overlaps(boxes, boxes) > OVERLAP) & (classes[:, None] == classes)
    kept: list[int] = []
    for place in range(len(order)):
        if not bool(covers[place, kept].any()):
            kept.append(place)
    return boxes[kept], scores[kept], classes[kept]


def average_precision(found: list[Found], targets: list[Targets], label: int) -> float | None:
    """Area under precision over recall of one class at an overlap of 0.5, all points.

    None where there is no such object (Everingham et al., IJCV 2010, as of 2010).
    """
    hits: list[tuple[float, bool]] = []
    objects = 0
    for (boxes, scores, classes), target in zip(found, targets, strict=True):
        true = target["boxes"][target["labels"] == label]
        objects += len(true)
        free = torch.ones(len(true), dtype=torch.bool)
        for place in (classes == label).nonzero()[:, 0].tolist():  # the best score first
            shared = overlaps(boxes[place : place + 1], true)[0] * free
            best = int(shared.argmax()) if len(true) else 0
            hit = len(true) > 0 and float(shared[best]) >= 0.5
            if hit:
                free[best] = False
            hits.append((float(scores[place]), hit))
    if not objects:
        return None
    hits.sort(key=lambda each: -each[0])
    right = torch.tensor([hit for _, hit in hits], dtype=torch.float64).cumsum(0)
    precision = right / torch.arange(1, len(right) + 1)
    highest = precision.flip(0).cummax(0).values.flip(0) if len(right) else precision
    steps = right.diff(prepend=torch.zeros(1, dtype=torch.float64)) / objects
    return float((highest * steps).sum())


@torch.no_grad()
def map50(model: nn.Module, batches: Iterable[tuple[Tensor, list[Targets]]]) -> float:
    """Mean average precision at an overlap of 0.5, for `--score`."""
    found: list[Found] = []
    targets: list[Targets] = []
    for images, truth in batches:
        found += [suppressed(each) for each in model(images)[0]]
        targets += truth
    each = [average_precision(found, targets, label) for label in range(len(CLASSES))]
    known = [value for value in each if value is not None]
    return sum(known) / len(known)
