"""Where channels lie: told by labels and views, whatever layers ran before."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from exact import gap, some
from test_surgery import essence
from torch import Tensor, nn
from torch.nn import functional as F

from automl.network.channel_dims import (
    Layout,
    channel_dims,
    lies_in_order,
    line_of,
    restrided,
)
from automl.network.labels import constant
from automl.network.surgery import smaller
from automl.network.trace import record
from automl.network.traced_model import trace_network


class Excited(nn.Module):
    """Squeeze-and-excitation made of linear layers between convolutions: maps stay maps."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(32, 48, 3, padding=1)
        self.squeeze, self.excite = nn.Linear(32, 8), nn.Linear(8, 32)
        self.third, self.head = nn.Conv2d(48, 48, 3, padding=1), nn.Linear(48, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        gates = torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3))))))
        x = F.silu(self.second(x * gates.view(1, -1, 1, 1)))
        head: Tensor = self.head(F.silu(self.third(x) + x).mean((2, 3)))
        return head


class Turned(nn.Module):
    """Goes through tokens with their channels last, and back to maps."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.mix = nn.Conv2d(3, 16, 1), nn.Linear(16, 24)
        self.second, self.last = nn.Conv2d(24, 8, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.silu(self.mix(self.first(x).permute(0, 2, 3, 1)) * 2)
        last: Tensor = self.last(F.silu(self.second(x.permute(0, 3, 1, 2)) + 1))
        return last


@pytest.mark.parametrize("make", [Excited, Turned])
def test_shapes_are_foretold_of_maps_that_are_not_square(make: Callable[[], nn.Module]) -> None:
    shape = (1, 3, 20, 24)
    traced = trace_network(make(), shape)
    network = traced.network
    kept = {group.name: torch.arange(group.channels // 2) for group in network.groups}
    small = smaller(traced.model, network.groups, kept)
    again = trace_network(small, shape).network
    counts = {name: len(index) for name, index in kept.items()}
    assert network.groups
    assert essence(again.layers) == essence(network.shapes(counts))
    maps = [layer for layer in network.layers if layer.op in ("activation", "add")]
    assert {layer.in_size for layer in maps if layer.in_size != (1, 1)} == {(20, 24)}


def test_a_permuted_map_lies_in_another_order_until_something_is_computed() -> None:
    trace = record(Turned().eval(), torch.randn(1, 3, 4, 6))
    permuted = [call for call in trace.calls if call.strided]
    assert [call.step.op for call in permuted] == ["linear"]


def dims(labels: Tensor, op: str, read: Layout, *arguments: object) -> tuple[int, ...]:
    return channel_dims(labels, op, (None, *arguments), read)


def test_labels_tell_where_channels_lie() -> None:
    line = torch.arange(1, 7)
    maps, tokens = Layout((1, 6, 4, 4), (1,)), Layout((1, 4, 6), (2,))
    sequence = line.view(1, 6, 1).expand(1, 6, 8)
    assert dims(sequence, "silu", Layout((1, 6, 8), (1,))) == (1,)
    assert dims(sequence, "gather", Layout((1, 6), (1,))) == (1,)
    assert dims(line.view(1, 1, 6).expand(1, 4, 6), "gather", maps) == (2,)
    groups = line.view(1, 2, 3, 1, 1).expand(1, 2, 3, 4, 4)
    assert dims(groups, "view", maps) == (1, 2)
    assert dims(groups.transpose(1, 2), "transpose", Layout((1, 2, 3, 4, 4), (1, 2)), 1, 2) == (
        1,
        2,
    )
    heads = line.view(1, 1, 2, 3).expand(1, 4, 2, 3)
    assert dims(heads, "view", tokens) == (2, 3)
    assert dims(heads.transpose(1, 2), "transpose", Layout((1, 4, 2, 3), (2, 3)), 1, 2) == (1, 3)


def test_values_without_labels_take_after_what_wrote_them() -> None:
    none, maps = constant((1, 4, 6)), Layout((1, 4, 6), (1,))
    assert dims(none, "bmm", maps) == (2,)
    assert dims(none, "exp", maps) == (1,)
    assert dims(none, "transpose", maps, 1, 2) == (2,)
    assert dims(none, "permute", maps, [0, 2, 1]) == (2,)
    assert dims(constant(()), "sum", maps) == ()


def test_labels_along_channels_are_read_where_they_change_nowhere_else() -> None:
    labels = torch.arange(1, 7).view(1, 2, 3, 1).expand(1, 2, 3, 5)
    assert line_of(labels, (1, 2)).tolist() == [1, 2, 3, 4, 5, 6]
    assert line_of(labels, (1,)).tolist() == [0, 0]


def test_maps_with_channels_last_in_memory_lie_in_order() -> None:
    maps = torch.zeros(2, 3, 4, 5)
    assert lies_in_order(maps)
    assert lies_in_order(maps.to(memory_format=torch.channels_last))
    assert not lies_in_order(maps.transpose(2, 3))


@pytest.mark.parametrize("last", [False, True])
def test_labels_of_a_view_that_names_its_strides(last: bool) -> None:
    labels = torch.arange(1, 25).view(2, 3, 4)
    read = torch.zeros(2, 3, 4)
    labels = labels.transpose(1, 2) if last else labels
    read = read.transpose(1, 2) if last else read
    view = read.as_strided((3, 2), (4, 12), 1)
    found = restrided(labels, (read.stride(), 0), view)
    assert found.tolist() == [[2, 14], [6, 18], [10, 22]]


class Pooled(nn.Module):
    """Maps whose channels lie last in memory, pooled to one place: torch gives that new strides."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.head = nn.Conv2d(3, 12, 3), nn.LayerNorm(12), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        head: Tensor = self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))
        return head


def test_channels_stay_open_where_maps_with_channels_last_are_pooled() -> None:
    torch.manual_seed(0)
    traced = trace_network(Pooled().eval(), (1, 3, 8, 8), resolutions=())
    assert [group.channels for group in traced.network.groups] == [12]
    wrong, effect = gap(traced, (1, 3, 8, 8), some(traced))
    assert wrong < 1e-12 < 1e-3 < effect
