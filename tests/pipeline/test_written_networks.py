"""Networks as people write them are searched, made, and exported as what was scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import automl


class Tokens(nn.Module):
    """A class token, a position embedding, a layer scale, and branches added outside them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 16, 4, 4), nn.Linear(16, 4)
        self.token, self.place = (nn.Parameter(torch.randn(1, n, 16)) for n in (1, 5))
        self.gamma = nn.Parameter(torch.rand(16) + 0.5)
        self.parts = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
            for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.place
        for part in self.parts:
            x = part(x) + x
        return self.head((x * self.gamma).mean(1))


class Volumes(nn.Module):
    """Convolutions in three dimensions, one of them transposed, and a chain of equal ones."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv3d(1, 8, 3, 2, 1), nn.BatchNorm3d(8)
        self.middle, self.up = nn.Conv3d(8, 8, 3, padding=1), nn.ConvTranspose3d(8, 6, 2, 2)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.middle(F.relu(self.norm(self.stem(x[:, None]))))
        return self.head(self.up(F.relu(x)).mean((2, 3, 4)))


class Parts(nn.Module):
    """A convolution of a part of the channels, then GRN and a layer norm over maps, written out."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.part = nn.Conv2d(3, 24, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.wide, self.narrow = nn.Conv2d(24, 48, 1), nn.Conv2d(48, 24, 1)
        self.gain, self.factor = (nn.Parameter(torch.rand(n, 1, 1) + 0.5) for n in (48, 24))
        self.head = nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        some, rest = self.stem(x).split([8, 16], 1)
        x = torch.cat([self.part(some), rest], 1)
        normed = x - x.mean(1, keepdim=True)
        normed = self.factor * normed / (normed.square().mean(1, keepdim=True) + 1e-6).sqrt()
        wide = F.gelu(self.wide(normed))
        length = wide.norm(dim=(2, 3), keepdim=True)
        wide = wide + self.gain * wide * length / (length.mean(1, keepdim=True) + 1e-6)
        return self.head((x + self.narrow(wide)).mean((2, 3)))


def batches(seed: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    pattern = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(9))
    found = []
    for _ in range(2):
        labels = torch.randint(0, 4, (16,), generator=generator)
        noise = torch.randn(16, 3, 8, 8, generator=generator)
        found.append((0.7 * pattern[labels] + noise, labels))
    return found


@pytest.mark.parametrize("kind", [Tokens, Volumes, Parts])
def test_half_the_work_is_found_and_the_file_computes_it(
    kind: type[nn.Module], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    data = (batches(0), batches(1), batches(2))
    options = {"target": "rpi4-1t", "budget": "50%MACs", "precisions": "float", "trials": 2}
    result = automl.search(kind().eval(), data, out=tmp_path, **options)
    policy = result.policy.policy
    assert policy.channels or policy.removed
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    name, inputs = session.get_inputs()[0].name, batches(3)[0][0]
    found = np.concatenate([session.run(None, {name: each[None].numpy()})[0] for each in inputs])
    expected = result.model(inputs).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
