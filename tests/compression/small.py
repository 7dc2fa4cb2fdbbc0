"""Networks that show one thing each; random weights, seeded."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MAP = (1, 3, 8, 8)


class Plain(nn.Module):
    """Two convolutions and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 6, 3, padding=1)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.sigmoid(self.second(F.relu(self.first(x))))
        return self.head(x.mean((2, 3)))


class Block(nn.Module):
    """relu(shortcut + branch); `early` computes the shortcut before the branch."""

    def __init__(self, read: int, write: int, early: bool) -> None:
        super().__init__()
        self.inner, self.outer = nn.Conv2d(read, 8, 3, padding=1), nn.Conv2d(8, write, 1)
        self.project = nn.Identity() if read == write else nn.Conv2d(read, write, 1)
        self.early = early

    def forward(self, x: Tensor) -> Tensor:
        before = self.project(x) if self.early else x
        y = self.outer(F.relu(self.inner(x)))
        return F.relu(y + (before if self.early else self.project(x)))


class Shortcuts(nn.Module):
    """An identity shortcut, a projection computed before its branch and one computed after."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.same, self.same2 = Block(6, 6, False), Block(6, 6, False)
        self.before, self.after = Block(6, 7, True), Block(7, 8, False)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.same2(self.same(F.relu(self.stem(x))))
        return self.head(self.after(self.before(x)).mean((2, 3)))


class Joined(nn.Module):
    """Two groups that one layer reads side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 6, 1), nn.Conv2d(3, 5, 3, padding=1)
        self.both, self.head = nn.Conv2d(11, 8, 3, padding=1), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([F.relu(self.left(x)), torch.tanh(self.right(x))], 1)
        return self.head(F.relu(self.both(x)).mean((2, 3)))


class SequenceFirst(nn.Module):
    """Tokens before images, as torch's encoder layer has it by default."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.layer = nn.Linear(12, 16), nn.TransformerEncoderLayer(16, 2, 32)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.embed(x).permute(1, 0, 2)).mean(0))


class Windows(nn.Module):
    """An MLP on windows that are laid along the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 5)
        self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).permute(0, 2, 3, 1)
        images, height, width, channels = x.shape
        x = x.view(images, height // 4, 4, width // 4, 4, channels)
        x = x.permute(0, 1, 3, 2, 4, 5).reshape(-1, 16, channels)
        x = x + self.down(F.gelu(self.up(x)))
        return self.head(x.reshape(images, -1, channels).mean(1))


class Frames(nn.Module):
    """Convolutions on the frames of a video."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 6, 3, padding=1)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.second(F.relu(self.first(x.flatten(0, 1)))))
        return self.head(y.mean((2, 3)).view(*x.shape[:2], -1).mean(1))


class Multiplied(nn.Module):
    """A depthwise layer that writes two channels for each it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(8, 16, 3, padding=1, groups=8)
        self.last, self.head = nn.Conv2d(16, 8, 1), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.last(F.relu(self.depthwise(F.relu(self.first(x))))))
        return self.head(x.mean((2, 3)))


class Bordered(nn.Module):
    """Borders that are not zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1, padding_mode="circular")
        self.second = nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect")
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.second(F.relu(self.first(x)))).mean((2, 3)))


class InPlace(nn.Module):
    """Linear layers whose outputs are changed in place."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(20, 16), nn.Linear(16, 16)
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.hardswish(self.first(x), inplace=True)
        return self.head(self.second(x).sigmoid_())


class Scaled(nn.Module):
    """A residual sum with a factor."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.outer, self.head = nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = torch.add(x, self.outer(F.relu(self.inner(x))), alpha=0.1)
        return self.head(x.mean((2, 3)))


class Line(nn.Module):
    """One dimension, no bias, a dilated layer that keeps the size, a flatten."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv1d(3, 8, 5, 2, padding=2, bias=False)
        self.inner = nn.Conv1d(8, 8, 3, padding="same", dilation=2)
        self.outer, self.head = nn.Conv1d(8, 8, 3, padding=1), nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        return self.head((x + self.outer(F.relu(self.inner(x)))).flatten(1))


ODD: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "shortcuts": (Shortcuts, MAP),
    "joined": (Joined, MAP),
    "sequence first": (SequenceFirst, (1, 6, 12)),
    "windows": (Windows, MAP),
    "frames": (Frames, (1, 2, *MAP[1:])),
    "multiplied": (Multiplied, MAP),
    "bordered": (Bordered, MAP),
    "in place": (InPlace, (1, 20)),
    "scaled": (Scaled, MAP),
    "line": (Line, (1, 3, 16)),
}


def seeded(factory: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """The network with the same random weights each time."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return factory().eval()
