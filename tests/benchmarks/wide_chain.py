"""A wide chain in the manner of VGG, trained for a minute on CIFAR-10 at half of its size."""

from __future__ import annotations

import torch
from cifar import SHARED, load_cifar, normalised
from torch import Tensor, nn
from torch.nn import functional as F

_STEPS, _BATCH = 250, 64


def wide_chain() -> nn.Module:
    """Four convolutions of 64 to 256 channels, and a hidden layer of 256."""
    layers: list[nn.Module] = []
    before = 3
    for number, channels in enumerate((64, 64, 128, 256)):
        layers += [nn.Conv2d(before, channels, 3, padding=1), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if number else []
        before = channels
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(1024, 256), nn.ReLU(), nn.Linear(256, 10))


def small(pictures: Tensor) -> Tensor:
    """Pictures as the chain sees them: [n, 3, 16, 16]."""
    return F.avg_pool2d(normalised(pictures), 2)


def trained(seed: int) -> tuple[nn.Module, Tensor, float]:
    """The chain, training images that it has not seen, and its accuracy on these in per cent."""
    data = load_cifar(SHARED)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(data.train), generator=generator)
    unseen, seen = order[:1500], order[1500:]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = wide_chain()
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(_STEPS):
        chosen = seen[torch.randint(0, len(seen), (_BATCH,), generator=generator)]
        loss = F.cross_entropy(model(small(data.train[chosen])), data.train_labels[chosen].long())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval()
    images = small(data.train[unseen])
    with torch.no_grad():
        right = model(images).argmax(1) == data.train_labels[unseen]
    return model, images, 100.0 * float(right.float().mean())
