"""The problems that agents are held against: a network, its prices, a budget, and a score.

What is costly is shared by all agents and seeds: calibration images, compression database, prices,
sensitivity. Seeds are the agents' own.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from cifar import load_cifar, load_resnet, normalised
from flowers import SIZES, load_flowers, load_network, network_inputs
from torch import Tensor, nn

from automl.compression.compressor import Compressor
from automl.compression.reconstruction.base import RefitSettings
from automl.compression.resizing import resized
from automl.compression.sensitivity import measure_sensitivity, outputs
from automl.cost import resolve_budget
from automl.files import write_whole
from automl.network.traced_model import trace_network
from automl.options import SearchOptions
from automl.pipeline.pricing import price_network
from automl.pipeline.requests import ignore
from automl.policy.policy import Policy
from automl.space import Sensitivity, Space, channel_counts
from automl.study.problem import Problem, read_geometry
from automl.units import parse_budget

CALIBRATION = 2_000
#: Images of a candidate's refit and of its score.
REFIT, SCORED = 64, 192
#: Ranks policies like the finished network does (docs/scoring.md) and is the cheapest that does.
IN_THE_LOOP = RefitSettings(images=REFIT, rows=2_000, rounds=1)
#: The last refit, of what is tested: the product's reads more rows a layer, which takes longer.
LAST = RefitSettings(rows=16_000)
#: Networks' images that one candidate takes.
EVALUATIONS = REFIT + SCORED
SENSITIVITY_IMAGES = 16


@dataclass(frozen=True, slots=True)
class Photos:
    """Inputs [n, 3, h, w] for a search, and test images as bytes with their labels."""

    calibration: Tensor
    scored: Tensor
    test: Tensor
    test_labels: Tensor


class Contest:
    """One problem, its score, and the accuracy of finished policies.

    Args:
        name: Of the problem.
        model: The dense network.
        photos: What is refitted on, scored on and tested on.
        target, budget: As on the command line.
        resolutions: Input sizes to choose from; () for the dense one.
        out: Where the sensitivity and the fitted overhead are kept.
    """

    def __init__(
        self,
        name: str,
        model: nn.Module,
        photos: Photos,
        target: str,
        budget: str,
        resolutions: tuple[int, ...],
        out: Path,
    ) -> None:
        self.name = name
        shape = (1, *photos.calibration.shape[1:])
        self.traced = trace_network(model, shape, resolutions=resolutions)
        limit = parse_budget(budget)
        priced = price_network(
            self.traced,
            SearchOptions(target=target, budget=(budget,), resolutions=resolutions),
            on_event=ignore,
            keep=out / f"overhead-{name}.json",
        )
        self.space, costs = priced.space, priced.costs
        counts = {v.name: channel_counts(v) for v in self.space.variables if v.kind == "channels"}
        self._finishing = Compressor(self.traced, photos.calibration, counts)
        # The same database, and features of no more images than a candidate is refitted on.
        self._loop = copy.copy(self._finishing)
        self._loop.images = self._finishing.images[:REFIT]
        self._loop.forget()
        sensitivity = _kept_sensitivity(
            self._finishing, self.space, out / f"sensitivity-{name}.json"
        )
        geometry = read_geometry(self.traced.network, self.space)
        limits = resolve_budget([limit], costs.dense)
        self.problem = Problem(self.space, costs, limits, sensitivity, geometry)
        self._photos = photos
        self._dense = outputs(self.traced.model, photos.scored)

    @property
    def sensitivity_evaluations(self) -> int:
        """Images that the measurement of what each choice does alone took."""
        return SENSITIVITY_IMAGES * sum(size - 1 for size in self.space.sizes)

    def score(self, policy: Policy) -> float:
        """The refitted candidate's squared error of the logits, relative and negative.

        On images that the calibration does not hold.
        """
        model = self._loop.make(policy, settings=IN_THE_LOOP).eval()
        images = resized(self._photos.scored, policy.resolution)
        found = outputs(_fast(model), images, batch=32)
        error = (found - self._dense).square().mean() / self._dense.var(0).mean()
        return -float(error)

    def finished(self, policy: Policy) -> float:
        """Percent of the test images that the policy's finished network has right."""
        return self.accuracy(self._finishing.make(policy, settings=LAST), policy.resolution)

    @torch.inference_mode()
    def accuracy(self, model: nn.Module, resolution: int = 0) -> float:
        """Percent of all test images."""
        model = _fast(model.eval())
        size = self._photos.calibration.shape[-1]
        right = 0
        photos = self._photos
        for part, truth in zip(photos.test.split(50), photos.test_labels.split(50), strict=True):
            images = network_inputs(part, size)
            right += int((model(resized(images, resolution)).argmax(1) == truth).sum())
        return 100 * right / len(photos.test_labels)

    def dense_accuracy(self) -> float:
        """Of the dense network."""
        return self.accuracy(self.traced.model)


def resnet56(shared: Path, out: Path, quantity: str) -> Contest:
    """ResNet-56 on CIFAR-10 at half of its multiply-accumulates ("macs") or latency ("latency")."""
    data = load_cifar(shared)
    drawn = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))
    calibration = normalised(data.train[drawn[:CALIBRATION]])
    scored = normalised(data.train[drawn[CALIBRATION : CALIBRATION + SCORED]])
    photos = Photos(calibration, scored, data.test, data.test_labels)
    budget = "50%MACs" if quantity == "macs" else "50%"
    model = load_resnet(shared, 56)
    return Contest(f"resnet56-{quantity}", model, photos, "cpu", budget, (), out)


def flowers(shared: Path, out: Path, name: str, target: str, budget: str) -> Contest:
    """The flowers network, with its resolutions to choose from."""
    data = load_flowers(shared)
    calibration = network_inputs(data.train[:CALIBRATION])
    scored = network_inputs(data.held_out[:SCORED])
    photos = Photos(calibration, scored, data.test, data.test_labels)
    model = load_network(out / "flowers.pt")
    return Contest(f"flowers-{name}", model, photos, target, budget, SIZES, out)


def _fast(model: nn.Module) -> nn.Module:
    """The same network with weights in the order that convolutions here are fastest in."""
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _kept_sensitivity(compressor: Compressor, space: Space, path: Path) -> Sensitivity:
    """The sensitivity, measured once and kept."""
    if path.is_file():
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["space"] == space.digest:
            return Sensitivity(tuple(map(np.array, kept["sensitivity"])), kept["images"])
    sensitivity = measure_sensitivity(
        compressor.database, space, compressor.images[:SENSITIVITY_IMAGES]
    )
    found = {"space": space.digest, "images": sensitivity.images}
    write_whole(
        path, json.dumps(found | {"sensitivity": [row.tolist() for row in sensitivity.single]})
    )
    return sensitivity
