"""What the scoreboard's rows are made of: expectations, and a network with images to be judged on.

A row is a declaration in a file `scoreboard_FAMILY.py` beside this one, whose `ROWS` the scoreboard
finds. Its function is given a `Bench` and gives figures of one seed:

    def taps_ghost(bench: Bench) -> Figures:
        return {"error": bench.form_error("ghost:2")}

    ROWS = (
        Row("ghost", "forms/ghost", "below half of the channels", taps_ghost,
            (Check("error", at_most=0.2),)),
    )
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from statistics import mean
from typing import Any

import torch
from cifar import SHARED, accuracy, load_cifar, load_resnet, normalised
from torch import Tensor, nn

from automl.compression import CompressionConfig, Compressor, compression_kind
from automl.network import TracedModel, trace_network
from automl.policy import Policy
from automl.space import kind_of

#: Training images that are calibrated on, and others that errors are looked at on.
FITTED, HELD_OUT = 1000, 500
Figures = Mapping[str, float]
USUAL = CompressionConfig()


@dataclass(frozen=True, slots=True)
class Check:
    """What a figure has to be, on the mean over seeds.

    Attributes:
        figure: Its name.
        at_most: Upper limit; None for none.
        at_least: Lower limit; None for none.
    """

    figure: str
    at_most: float | None = None
    at_least: float | None = None

    def holds(self, figures: Figures) -> bool:
        """Whether the figure is there and within the limits."""
        value = figures.get(self.figure)
        if value is None:
            return False
        low = self.at_least is None or value >= self.at_least
        return low and (self.at_most is None or value <= self.at_most)


@dataclass(frozen=True, slots=True)
class Row:
    """One method shown to work.

    Attributes:
        name: As `--rows` takes it.
        method: Registry and name: "forms/rank-spatial".
        expects: What the paper, or methods.md, says of it, in one sentence.
        run: What is done with one network and seed, and the figures that it gives.
        checks: What has to be so of the figures' means.
        networks: Of `bench_plain`: resnet20, resnet32, resnet56.
        seeds: Of the images, and of what is random.
    """

    name: str
    method: str
    expects: str
    run: Callable[[Bench], Figures]
    checks: Sequence[Check]
    networks: Sequence[str] = ("resnet20",)
    seeds: Sequence[int] = (0, 1, 2)


class Bench:
    """A trained network with images of a seed; all that is costly is made when first asked for."""

    def __init__(self, network: str, seed: int) -> None:
        self.network, self.seed = network, seed

    @cached_property
    def _data(self) -> Any:
        return load_cifar(SHARED)

    @cached_property
    def _order(self) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randperm(len(self._data.train), generator=generator)

    def model(self) -> nn.Module:
        """As trained, with its batch norms; a new one at each call."""
        return load_resnet(SHARED, int(self.network.removeprefix("resnet")))

    @cached_property
    def traced(self) -> TracedModel:
        """The network, read."""
        return trace_network(self.model(), (1, 3, 32, 32), resolutions=())

    @cached_property
    def images(self) -> Tensor:
        """Training images to calibrate on."""
        return normalised(self._data.train[self._order[:FITTED]])

    @cached_property
    def labels(self) -> Tensor:
        """Of `images`."""
        found: Tensor = self._data.train_labels[self._order[:FITTED]].long()
        return found

    @cached_property
    def held_out(self) -> Tensor:
        """Training images that no fit sees."""
        return normalised(self._data.train[self._order[FITTED : FITTED + HELD_OUT]])

    def further(self, number: int, count: int) -> tuple[Tensor, Tensor]:
        """Training images that are neither of these, with their labels: one of several such parts.

        Args:
            number: Of the part, from 0.
            count: Of images.
        """
        at = self._order[FITTED + HELD_OUT :][number * count : (number + 1) * count]
        found = self._data.train_labels[at].long()
        return normalised(self._data.train[at]), found

    @cached_property
    def compressor(self) -> Compressor:
        """By the usual config, of no channels: moments, forms and bits."""
        return self.compressor_of(USUAL)

    def compressor_of(
        self, config: CompressionConfig, counts: Mapping[str, Sequence[int]] | None = None
    ) -> Compressor:
        """Of a config, and the counts of channels that are asked for."""
        return Compressor(self.traced, self.images, counts or {}, config=config, scheme="qdq-u8s8")

    @cached_property
    def _dense(self) -> Tensor:
        return logits(self.traced.model, self.held_out)

    def error(self, model: nn.Module) -> float:
        """Mean squared difference of held-out logits from the dense ones, over their variance."""
        gap = (logits(model, self.held_out) - self._dense).square().mean()
        return float(gap / self._dense.var(0).mean())

    def accuracy(self, model: nn.Module) -> float:
        """Percent of all 10,000 test images; one look a row, after everything is chosen."""
        return accuracy(model, self._data.test, self._data.test_labels)

    def halved(self) -> Policy:
        """Each channel group at half of its channels."""
        groups = self.traced.network.groups
        return Policy(channels={group.name: group.channels // 2 for group in groups})

    @cached_property
    def convolutions(self) -> tuple[str, ...]:
        """Names of all 3 x 3 convolutions but the first."""
        return tuple(
            name
            for name, module in self.traced.model.named_modules()
            if isinstance(module, nn.Conv2d)
            and module.kernel_size == (3, 3)
            and module.in_channels > 3
        )

    @contextmanager
    def formed(self, layer: str, option: str, *, moments: bool = True) -> Iterator[nn.Module]:
        """The network with one layer of another form, its bias corrected; no copy.

        Args:
            layer: Its name.
            option: As policies write it: "rank-spatial:8".
            moments: Whether the fit sees what the layer reads.
        """
        kind, model = compression_kind(kind_of("form")), self.traced.model
        module, known = model.get_submodule(layer), self.compressor.joint.moments_of(layer)
        _ = self._dense  # before anything is changed
        before = copy.deepcopy(module.state_dict())
        try:
            kind.finish(kind.parse(option), module, known if moments else None)
            yield model
        finally:
            module.load_state_dict(before)

    def form_error(self, option: str | Callable[[Any], str], *, moments: bool = True) -> float:
        """The mean error of one 3 x 3 convolution of another form at a time, over all of them.

        Args:
            option: As policies write it, or what gives that for a module.
            moments: As `formed`.
        """
        found = []
        for name in self.convolutions:
            module = self.traced.model.get_submodule(name)
            text = option if isinstance(option, str) else option(module)
            with self.formed(name, text, moments=moments) as model:
                found.append(self.error(model))
        return mean(found)


@torch.no_grad()
def logits(model: nn.Module, images: Tensor) -> Tensor:
    """Of all images."""
    return torch.cat([model(some) for some in images.split(250)])
