"""Networks of maxout units, and one that is trained in seconds."""

from __future__ import annotations

import torch
from torch import nn

Tensor = torch.Tensor
CLASSES = 4


class Maxout(nn.Module):
    """Two layers of maxout units.

    Args:
        units: How many each has.
        pieces: Of each unit.
        layout: Which comes first in a view, or how the view is written.
    """

    def __init__(self, units: int = 6, pieces: int = 4, layout: str = "units") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.units, self.pieces, self.layout = units, pieces, layout
        self.one = nn.Linear(8, units * pieces)
        self.two = nn.Linear(units, units * pieces)
        self.three = nn.Linear(units, CLASSES)

    def laid_out(self, values: Tensor) -> Tensor:
        """[images, units, pieces]."""
        if self.layout == "pieces":
            return values.view(-1, self.pieces, self.units).transpose(1, 2)
        return values.view(-1, self.units, self.pieces)

    def largest(self, values: Tensor) -> Tensor:
        """Of each unit's pieces."""
        if self.layout == "units":
            return values.view(values.shape[0], self.units, self.pieces).amax(2)
        if self.layout == "pieces":
            return values.view(-1, self.pieces, self.units).max(1)[0]
        return values.unflatten(1, (self.units, self.pieces)).max(dim=-1).values

    def forward(self, inputs: Tensor) -> Tensor:
        """Scores of classes."""
        first = self.largest(self.one(inputs))
        scores: Tensor = self.three(self.largest(self.two(first)))
        return scores


class KeptFeatures(Maxout):
    """The same, whose maximum keeps its dimension.

    Args:
        taken: How that is left: "squeeze", "flatten", "view" or "select".
    """

    def __init__(self, taken: str, *, units_first: bool = True) -> None:
        super().__init__(layout="units" if units_first else "pieces")
        self.taken = taken

    def largest(self, values: Tensor) -> Tensor:
        """Of each unit's pieces."""
        at = 2 if self.layout == "units" else 1
        split = (self.units, self.pieces) if at == 2 else (self.pieces, self.units)
        found = values.view(-1, *split).max(at, keepdim=True)[0]
        if self.taken == "squeeze":
            return found.squeeze(at)
        if self.taken == "flatten":
            return found.flatten(1)
        return found.view(-1, self.units) if self.taken == "view" else found.select(at, 0)


class FeaturesBelow(Maxout):
    """Whose pieces are read again, less the largest of them."""

    def largest(self, values: Tensor) -> Tensor:
        """The logarithm of the sum of each unit's exponentials, as it is computed safely."""
        pieces = values.view(-1, self.units, self.pieces)
        largest = pieces.amax(2, keepdim=True)
        return (pieces - largest).exp().sum(2).log() + largest.squeeze(2)


class MaxoutMaps(nn.Module):
    """Maxout units of maps, whose number is asked for."""

    def __init__(self, *, units_first: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.units_first = units_first
        self.one = nn.Conv2d(3, 24, 3, padding=1)
        self.norm = nn.BatchNorm2d(24)
        self.two = nn.Conv2d(6, 24, 3, padding=1)
        self.three = nn.Linear(6, CLASSES)

    def largest(self, values: Tensor) -> Tensor:
        """Of each unit's pieces."""
        images, channels, height, width = values.shape
        if self.units_first:
            return values.view(images, channels // 4, 4, height, width).amax(2)
        return values.view(images, 4, channels // 4, height, width).amax(1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Scores of classes."""
        first = self.largest(self.norm(self.one(inputs)))
        scores: Tensor = self.three(self.largest(self.two(first)).mean((2, 3)))
        return scores


class KeptDimension(MaxoutMaps):
    """The same, whose maximum keeps its dimension.

    Args:
        taken: How that is left: "squeeze", "flatten", "view" or "select".
    """

    def __init__(self, taken: str, *, units_first: bool = True) -> None:
        super().__init__(units_first=units_first)
        self.taken = taken

    def largest(self, values: Tensor) -> Tensor:
        """Of each unit's pieces."""
        images, channels, height, width = values.shape
        at = 2 if self.units_first else 1
        units, shape = channels // 4, (images, channels // 4, height, width)
        split = (units, 4) if self.units_first else (4, units)
        found = values.view(images, *split, height, width).max(at, keepdim=True)[0]
        if self.taken == "squeeze":
            return found.squeeze(at)
        if self.taken == "flatten":
            return found.flatten(1, 2)
        return found.view(shape) if self.taken == "view" else found.select(at, 0)


class BelowTheLargest(MaxoutMaps):
    """Whose pieces are read again, less the largest of them."""

    def largest(self, values: Tensor) -> Tensor:
        """The logarithm of the sum of each unit's exponentials, as it is computed safely."""
        images, channels, height, width = values.shape
        pieces = values.view(images, channels // 4, 4, height, width)
        largest = pieces.amax(2, keepdim=True)
        return (pieces - largest).exp().sum(2).log() + largest.squeeze(2)


class Halves(nn.Module):
    """The larger of two halves, as LightCNN has it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one = nn.Conv2d(3, 24, 3, padding=1)
        self.two = nn.Conv2d(12, 24, 3, padding=1)
        self.three = nn.Linear(12, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        """Scores of classes."""
        first = torch.max(*self.one(inputs).split(12, 1))
        scores: Tensor = self.three(torch.max(*self.two(first).split(12, 1)).mean((2, 3)))
        return scores


class ReadTwice(Maxout):
    """Whose pieces a layer reads as well."""

    def __init__(self) -> None:
        super().__init__()
        self.aside = nn.Linear(24, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        """Scores of classes."""
        values = self.one(inputs)
        scores: Tensor = self.three(self.largest(values)) + self.aside(values)
        return scores


class SideBySide(Maxout):
    """Whose first units two layers write, and whose classes are maxout units too."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(8, 16)
        self.beside = nn.Linear(8, 8)
        self.two = nn.Linear(6, CLASSES * 4)

    def forward(self, inputs: Tensor) -> Tensor:
        """Scores of classes."""
        values = torch.cat([self.one(inputs), self.beside(inputs)], 1)
        return self.two(self.largest(values)).view(-1, CLASSES, 4).amax(2)


def data(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Points around sixteen centres, every fourth of one class."""
    centres = 1.3 * torch.randn(16, 8, generator=torch.Generator().manual_seed(99))
    generator = torch.Generator().manual_seed(seed)
    which = torch.randint(0, len(centres), (count,), generator=generator)
    return centres[which] + 0.5 * torch.randn(count, 8, generator=generator), which % CLASSES


def trained(seed: int, *, layout: str = "units") -> Maxout:
    """Sixteen units of eight pieces, trained with weight decay."""
    model = Maxout(16, 8, layout)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in model.parameters():
            bound = weights.shape[-1] ** -0.5 if weights.dim() > 1 else 0.1
            weights.uniform_(-bound, bound, generator=generator)
    points, classes = data(4000, 1)
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=0.5)
    for _ in range(400):
        chosen = torch.randint(0, len(points), (256,), generator=generator)
        loss = nn.functional.cross_entropy(model(points[chosen]), classes[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval()


def accuracy(model: nn.Module) -> float:
    """Of 4,000 points that no training has seen, in per cent."""
    points, classes = data(4000, 2)
    with torch.no_grad():
        return 100.0 * float((model(points).argmax(1) == classes).float().mean())
