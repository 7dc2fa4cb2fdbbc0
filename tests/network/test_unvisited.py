"""Parts that the recorded pass does not visit are named, and run after the network was cut."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from automl.network.surgery import smaller
from automl.network.traced_model import TracedModel, trace_network
from automl.network.unvisited import FEEDS, NEVER

MAPS = (1, 3, 16, 16)


def halved(traced: TracedModel) -> nn.Module:
    groups = traced.network.groups
    return smaller(traced.model, groups, {g.name: torch.arange(g.channels // 2) for g in groups})


def named(traced: TracedModel) -> dict[str, str]:
    return {part.name: part.reason for part in traced.network.unprunable}


class EarlyExit(nn.Module):
    """Goes on only where the first classifier is sure."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.first = nn.Conv2d(3, 12, 3, 2, 1), nn.Conv2d(12, 32, 3, 2, 1)
        self.exit = nn.Linear(32, 10)
        self.second, self.last = nn.Conv2d(32, 64, 3, 2, 1), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(F.relu(self.stem(x))))
        early: Tensor = self.exit(x.mean((2, 3)))
        if early.abs().max() < 20:
            return early
        last: Tensor = self.last(F.relu(self.second(x)).mean((2, 3)))
        return last


def test_an_exit_that_is_not_taken_stays_whole() -> None:
    torch.manual_seed(0)
    traced = trace_network(EarlyExit(), MAPS)
    expected = {"first": FEEDS, "second": NEVER, "last": NEVER}
    assert named(traced) == expected
    assert [group.name for group in traced.network.groups] == ["stem"]
    small, hard = halved(traced), 1000 * torch.randn(MAPS)
    assert small.stem.out_channels == 6  # type: ignore[union-attr]
    taken: list[nn.Module] = []
    small.last.register_forward_hook(lambda module, *_: taken.append(module))  # type: ignore[union-attr]
    small(hard)
    assert taken == [small.last]


class Auxiliary(nn.Module):
    """A second classifier in training alone, of one of three stages that are equally wide."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(nn.Conv2d(3 if not i else 16, 16, 3, 2, 1) for i in range(3))
        self.aux = nn.Sequential(nn.Conv2d(16, 8, 1), nn.ReLU(), nn.Flatten(), nn.LazyLinear(4))
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        second = None
        for number, stage in enumerate(self.stages):
            x = F.relu(stage(x))
            if self.training and number == 1:
                second = self.aux(x)
        head: Tensor = self.head(x.mean((2, 3)))
        return head if second is None else (head, second)


def test_what_feeds_a_head_that_runs_in_training_is_seen_there() -> None:
    model = Auxiliary()
    model(torch.zeros(MAPS))
    traced = trace_network(model, MAPS)
    assert named(traced) == {"stages.1": FEEDS, "aux": NEVER}
    assert [group.name for group in traced.network.groups] == ["stages.0", "stages.2"]
    head, second = halved(traced).train()(torch.zeros(MAPS))
    assert (head.shape, second.shape) == ((1, 4), (1, 4))


class Lent(nn.Module):
    """Uses a module's weights without running it, and has one without weights that never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.lent, self.unused = nn.Linear(6, 8), nn.Linear(8, 8), nn.ReLU()
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        head: Tensor = self.head(F.linear(F.relu(self.first(x)), self.lent.weight))
        return head


def test_weights_that_are_read_elsewhere_are_visited() -> None:
    assert NEVER not in named(trace_network(Lent(), (1, 6))).values()
