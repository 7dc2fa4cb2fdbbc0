"""Granularity, learned from prices."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from automl.latency.keys import SOURCES, OpKey, Timings
from automl.network.layers import Network
from automl.network.traced_model import trace_network
from automl.pipeline.granularity import free_granularity, learn_granularity, probe_keys

WIDTHS = (2, 16, 24, 64, 256)


class Chain(nn.Module):
    """One group of each width."""

    def __init__(self) -> None:
        super().__init__()
        sides = zip((3, *WIDTHS), WIDTHS, strict=False)
        self.convs = nn.ModuleList(nn.Conv2d(read, write, 1) for read, write in sides)
        self.head = nn.Linear(WIDTHS[-1], 4)

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = torch.relu(conv(x))
        return self.head(x.mean((2, 3)))


class Fake:
    """A device whose time is a function of the channels written, with noise if wanted."""

    source = SOURCES.index("measured")

    def __init__(
        self, price: Callable[[int], float], noise: float = 0.0, seed: int = 0, said: float = 0.0
    ) -> None:
        self.price, self.noise, self.said = price, noise, said
        self.generator = np.random.default_rng(seed)

    def lookup(self, keys: Sequence[OpKey]) -> Timings:
        times = np.array([self.price(key.out_channels) for key in keys])
        times *= 1 + self.noise * self.generator.standard_normal(len(keys))
        spread = np.full(len(keys), self.said)
        return Timings(times, spread, np.full(len(keys), self.source, dtype=np.int8))


def blocks(extent: int) -> Callable[[int], float]:
    return lambda channels: float(-(-channels // extent) * extent)


@pytest.fixture(scope="module")
def network() -> Network:
    return trace_network(Chain().eval(), (1, 3, 4, 4), resolutions=()).network


def learned(network: Network, pricer: Fake) -> dict[int, int]:
    """Granularity by the width of the group."""
    steps = learn_granularity(network, pricer, "fp32")
    return {group.channels: steps[group.name] for group in network.groups}


def test_where_time_is_proportional_every_sixteenth_is_offered(network: Network) -> None:
    assert learned(network, Fake(float)) == {2: 1, 16: 1, 24: 1, 64: 4, 256: 16}
    assert learned(network, Fake(float)) == {
        group.channels: free_granularity(network)[group.name] for group in network.groups
    }


def test_a_device_that_runs_channels_in_sixteens_is_offered_sixteens(network: Network) -> None:
    # 24 channels run as 32: the first eight less save half
    assert learned(network, Fake(blocks(16))) == {2: 2, 16: 16, 24: 8, 64: 16, 256: 16}


def test_channels_that_go_together_are_offered_by_their_number() -> None:
    conv, norm, last = nn.Conv2d(3, 64, 3), nn.GroupNorm(32, 64), nn.Conv2d(64, 32, 1)
    model = nn.Sequential(conv, norm, last, nn.Conv2d(32, 4, 1)).eval()
    grouped = trace_network(model, (1, 3, 8, 8), resolutions=()).network
    assert [(group.channels, group.width) for group in grouped.groups] == [(32, 2), (32, 1)]
    assert learn_granularity(grouped, Fake(blocks(16)), "fp32") == {"0": 2, "2": 16}
    assert {key.out_channels for key in probe_keys(grouped, "fp32")} <= set(range(33))


def test_a_device_where_time_does_not_depend_on_channels_is_offered_none(network: Network) -> None:
    assert all(step == width for width, step in learned(network, Fake(lambda _: 1.0)).items())


@pytest.mark.parametrize(("extent", "same"), [(1, 0.85), (8, 0.9), (16, 0.95)])
def test_noise_of_two_per_cent_changes_little_of_what_is_learned(
    network: Network, extent: int, same: float
) -> None:
    wanted, found = learned(network, Fake(blocks(extent))), list[tuple[int, int]]()
    for seed in range(200):
        noisy = learned(network, Fake(blocks(extent), noise=0.02, seed=seed))
        found += [(noisy[width], wanted[width]) for width in (24, 64, 256)]
    assert sum(step == true for step, true in found) > same * len(found)
    assert sum(true / 2 <= step <= 2 * true for step, true in found) > 0.98 * len(found)


def test_operators_that_are_not_measured_are_passed_over(network: Network) -> None:
    def price(channels: int) -> float:
        return float("nan") if channels == 48 else blocks(16)(channels)

    assert learned(network, Fake(price))[64] == 32
    assert learned(network, Fake(lambda _: float("nan"))) == {width: width for width in WIDTHS}


def test_what_is_learned_from_is_what_is_measured_before(network: Network) -> None:
    asked: set[OpKey] = set()

    class Asked(Fake):
        def lookup(self, keys: Sequence[OpKey]) -> Timings:
            asked.update(keys)
            return super().lookup(keys)

    learn_granularity(network, Asked(float), "fp32")
    assert asked == set(probe_keys(network, "fp32"))


def test_noise_that_is_known_makes_no_step_worth_while(network: Network) -> None:
    """Sixteens save time; eights look as if they did in many draws at 10 % of noise."""
    sixteen = blocks(16)
    found = [learned(network, Fake(sixteen, 0.1, seed, said=0.1))[64] for seed in range(40)]
    naive = [learned(network, Fake(sixteen, 0.1, seed))[64] for seed in range(40)]
    assert sum(step < 16 for step in found) <= 4 < sum(step < 16 for step in naive)


def test_what_a_fitted_table_is_off_by_is_no_noise(network: Network) -> None:
    fitted = Fake(float, said=0.3)
    fitted.source = SOURCES.index("fitted")
    assert learned(network, fitted) == learned(network, Fake(float))
