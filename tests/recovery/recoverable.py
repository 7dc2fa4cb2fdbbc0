"""Small networks that recover, and their data."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

Pairs = list[tuple[Tensor, Tensor]]


class Block(nn.Module):
    """Two convolutions with norms, and their input added."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, inner, 3, padding=1), nn.BatchNorm2d(inner)
        self.conv2, self.bn2 = nn.Conv2d(inner, width, 3, padding=1), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(x + self.bn2(self.conv2(y)))


class Residual(nn.Module):
    """A stem, two blocks and a head; `outputs` returns the maps as well."""

    def __init__(self, inner: int = 8, outputs: int = 1) -> None:
        super().__init__()
        self.stem, self.blocks = nn.Conv2d(3, 8, 3), nn.Sequential(Block(8, inner), Block(8, inner))
        self.head, self.outputs = nn.Linear(8, 5), outputs
        self.sizes: list[int] = []

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        self.sizes.append(x.shape[-1])
        y = self.blocks(torch.relu(self.stem(x)))
        logits = self.head(y.mean((2, 3)))
        return logits if self.outputs == 1 else (logits, y)


def pair(inner: int = 8, outputs: int = 1) -> tuple[Residual, Residual]:
    """A teacher, and a student that is a spoilt copy of it, or has other inner widths."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        teacher = Residual(8, outputs).eval().requires_grad_(False)
        teacher.head.weight.mul_(8)
        student = copy.deepcopy(teacher) if inner == 8 else Residual(inner, outputs).eval()
        with torch.no_grad():
            for value in student.parameters():
                value.add_(0.1 * torch.randn_like(value))
        return teacher, student


def batches(size: int = 8, count: int = 4, images: int = 16) -> Pairs:
    """Noise, and labels that are noise too."""
    generator = torch.Generator().manual_seed(1)
    return [
        (
            torch.randn(images, 3, size, size, generator=generator),
            torch.randint(5, (images,), generator=generator),
        )
        for _ in range(count)
    ]
