"""Parts that cannot be cut are found, by few runs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from automl.network import trial_cuts
from automl.network.traced_model import trace_network


class Picky(nn.Module):
    """A long chain in which some layers refuse to be cut."""

    def __init__(self, length: int, refusing: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(length))
        self.refusing = refusing

    def forward(self, x: Tensor) -> Tensor:
        for number, layer in enumerate(self.layers):
            x = torch.tanh(layer(x))
            if number in self.refusing and x.shape[-1] < 8:
                raise AssertionError
        return x


def test_parts_that_cannot_be_cut_are_found_by_halving(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = 0
    smaller = trial_cuts.smaller

    def counted(*args: object, **kwargs: object) -> nn.Module:
        nonlocal runs
        runs += 1
        return smaller(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(trial_cuts, "smaller", counted)
    network = trace_network(Picky(41, (5, 30)), (1, 8)).network
    reason = "the network no longer runs when it is cut"
    assert [(part.name, part.reason) for part in network.unprunable] == [
        ("layers.5", reason),
        ("layers.30", reason),
    ]
    assert len(network.groups) == 38  # the last layer's channels are the output
    assert runs < 30  # 40 parts alone would be more


class Borrowed(nn.Module):
    """Lays outputs out by another layer's width: right only where both are cut alike."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 1), nn.Conv2d(3, 16, 1)
        self.head, self.last = nn.Linear(16, 4), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        first, second = torch.relu(self.first(x)), torch.relu(self.second(x))
        tokens = second.reshape(len(x), len(first[0]), -1).mean(2)
        last: Tensor = self.last(first.mean((2, 3))) + self.head(tokens)
        return last


def test_of_groups_that_must_keep_the_same_share_one_is_left_alone() -> None:
    network = trace_network(Borrowed(), (1, 3, 8, 8)).network
    assert [group.name for group in network.groups] == ["second"]
    assert [part.name for part in network.unprunable] == ["first"]


class Rooted(nn.Module):
    """Gives a number on the dense network, and none where channels are missing."""

    def __init__(self, safe: bool) -> None:
        super().__init__()
        self.first, self.second, self.safe = nn.Linear(4, 8), nn.Linear(8, 4), safe

    def forward(self, x: Tensor) -> Tensor:
        values: Tensor = self.second(torch.sigmoid(self.first(x)))
        values = values - values.detach().mean()
        return torch.cat([values if self.safe else values[:, :0], values.sqrt()], 1)


def test_outputs_that_are_no_numbers_are_held_against_each_other_where_they_are() -> None:
    assert [g.name for g in trace_network(Rooted(safe=True), (1, 4)).network.groups] == ["first"]
