"""Networks whose exported programs the tests read: residual blocks, views, tokens, recurrence."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    """Adds two normalised convolutions to what it reads."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.one = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.two = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.two(F.relu(self.norm(self.one(x)))))


class Maps(nn.Module):
    """Blocks in a sequence and in a list, a constant, a transposed convolution, rows by a view."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.blocks = nn.Sequential(Block(), Block())
        self.listed = nn.ModuleList([Block()])
        self.scale = nn.Parameter(torch.rand(16, 1, 1))
        self.up = nn.ConvTranspose2d(16, 8, 2, 2)
        self.head = nn.Linear(8 * 64, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.stem(x)) * self.scale
        for block in self.listed:
            x = block(x)
        return self.head(F.max_pool2d(self.up(x), 4).view(x.size(0), -1))


class Layers(nn.Module):
    """A layer of each other kind, one that pads in a forward of its own, one that runs twice."""

    class Padded(nn.Conv2d):
        def forward(self, input: Tensor) -> Tensor:
            return self._conv_forward(F.pad(input, (1, 1, 1, 1)), self.weight, self.bias)

    def __init__(self) -> None:
        super().__init__()
        self.padded, self.group = self.Padded(3, 8, 3), nn.GroupNorm(4, 8)
        self.each = nn.Conv2d(8, 8, 3, padding="same", groups=8)
        self.instance, self.bent = nn.InstanceNorm2d(8, affine=True), nn.PReLU()
        self.twice, self.dropped = Block(8), nn.Dropout(0.5)
        self.rows, self.rms = nn.LayerNorm(8), nn.RMSNorm(8)
        self.states = nn.LSTM(8, 6, batch_first=True, bidirectional=True)
        self.gates, self.head = nn.GRU(12, 6, batch_first=True), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bent(self.instance(self.each(self.group(self.padded(x)))))
        x = self.dropped(self.twice(self.twice(x)))
        x = self.rms(self.rows(x.flatten(2).transpose(1, 2)))
        return self.head(self.gates(self.states(x)[0])[0].mean(1))


class Attention(nn.Module):
    """A block of a transformer, which takes its width apart in heads by numbers."""

    def __init__(self, width: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.norm, self.qkv = nn.LayerNorm(width), nn.Linear(width, 3 * width)
        self.heads, self.mixed = heads, nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        count, tokens, width = x.shape
        qkv = self.qkv(self.norm(x)).reshape(count, tokens, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        seen = F.scaled_dot_product_attention(query, key, value)
        return x + self.mixed(seen.transpose(1, 2).reshape(count, tokens, width))


class Tokens(nn.Module):
    """Patches, a token of its own, positions, and two blocks of attention."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.own = nn.Conv2d(3, 32, 4, 4), nn.Parameter(torch.rand(1, 1, 32))
        self.places = nn.Parameter(torch.rand(1, 17, 32))
        self.blocks = nn.Sequential(Attention(), Attention())
        self.head = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.own.expand(x.shape[0], -1, -1), x], 1) + self.places
        return self.head(self.blocks(x)[:, 0])


class Several(nn.Module):
    """Takes two tensors, one by name, and gives a mapping."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(5, 8), nn.Linear(3, 8)
        self.head = nn.Linear(8, 2)

    def forward(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        both = F.relu(self.left(a)) + self.right(b)
        return {"logits": self.head(both), "features": both}


def made(kind: type[nn.Module]) -> nn.Module:
    """A network in evaluation mode, its norms with statistics of their own."""
    torch.manual_seed(0)
    model = kind().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.3, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model


def exported(model: nn.Module, *inputs: Tensor, form: str = "one") -> torch.export.ExportedProgram:
    """Its program: of batches of "one" size, of "any", or "core" operators for any."""
    given = inputs or (torch.randn(1 if form == "one" else 2, 3, 16, 16),)
    dims = None if form == "one" else tuple({0: torch.export.Dim.DYNAMIC} for _ in given)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch warns of when it exports
        program = torch.export.export(model, given, dynamic_shapes=dims)
        return program.run_decompositions() if form == "core" else program
