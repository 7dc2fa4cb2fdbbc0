"""CIFAR-10 and its trained residual networks, from the shared folder, for the benchmarks."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from automl.userdata.objects import load_object

Tensor = torch.Tensor
Batches = list[tuple[Tensor, Tensor]]
#: Beside the repository.
SHARED = Path(__file__).resolve().parents[3] / "shared"
#: Training images that a search is given: 256 to score on, then those to calibrate on.
FOR_SEARCH = 1_280
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WEIGHTS = {20: "resnet20-12fca82f.th", 32: "resnet32-d509ac18.th", 56: "resnet56-4bfd9763.th"}


@dataclass(frozen=True, slots=True)
class Cifar:
    """Images as the networks want them are made on demand, from bytes kept in memory."""

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor


def load_cifar(shared: Path) -> Cifar:
    """All 60,000 images, uint8 [n, 32, 32, 3]."""
    arrays = shared_module(shared / "data" / "load.py").cifar10()
    return Cifar(*(torch.from_numpy(array) for array in arrays))


def load_resnet(shared: Path, depth: int) -> nn.Module:
    """A trained network in eval mode."""
    folder = shared / "data" / "cifar10_resnet"
    network: nn.Module = shared_module(folder / "model.py").load(folder / WEIGHTS[depth], depth)
    return network


def normalised(images: Tensor) -> Tensor:
    """Bytes [n, 32, 32, 3] as float [n, 3, 32, 32]."""
    scaled = (images.float() / 255 - torch.tensor(MEAN)) / torch.tensor(DEVIATION)
    return scaled.permute(0, 3, 1, 2).contiguous()


def resnet56() -> nn.Module:
    """The trained network, for `--model`."""
    path = SHARED / "data" / "cifar10_resnet" / "model.py"
    network: nn.Module = load_object(f"{path}:load")(path.with_name(WEIGHTS[56]), 56)
    return network


def loaders() -> tuple[Batches, Batches]:
    """Training images to calibrate on and others to score on, for `--data`."""
    data = load_cifar(SHARED)
    images, labels = normalised(data.train[:FOR_SEARCH]), data.train_labels[:FOR_SEARCH]
    batches = list(zip(images.split(128), labels.split(128), strict=True))
    return batches[2:], batches[:2]


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Percent of labels that the model finds."""
    right = 0
    for part, truth in zip(images.split(250), labels.split(250), strict=True):
        right += int((model(normalised(part)).argmax(1) == truth).sum())
    return 100 * right / len(labels)


def shared_module(path: Path) -> ModuleType:
    """A module of the shared folder, by its path."""
    spec = importlib.util.spec_from_file_location(f"shared_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
