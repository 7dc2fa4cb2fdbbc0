"""What runs on values in heads shrinks with them."""

from __future__ import annotations

from attention_forms import SHAPE, build
from torch import Tensor, nn

from automl.network.traced_model import trace_network


def test_a_softmax_is_of_as_many_groups_as_there_are_heads() -> None:
    network = trace_network(build("separate"), SHAPE).network
    for heads in (4, 3, 1):
        layers = network.shapes({"attention.q": heads})
        (softmax,) = [layer for layer in layers if layer.op == "softmax"]
        assert (softmax.groups, softmax.in_channels, softmax.in_size) == (heads, 5, (5, 1))


def test_copies_are_of_heads_times_their_width() -> None:
    network = trace_network(build("separate"), SHAPE).network
    layers = network.shapes({"attention.q": 3, "attention.v": 5})
    copies = [layer for layer in layers if layer.op == "shuffle"]
    assert {layer.in_channels for layer in copies} >= {15}
    assert all(layer.in_size == (5, 1) for layer in copies)


def test_norms_of_heads_are_over_what_is_left_of_their_width() -> None:
    network = trace_network(build("normed"), SHAPE).network
    layers = {layer.name: layer for layer in network.shapes({"attention.q#2": 3})}
    assert layers["attention.q_norm"].in_channels == 3


class AttendedMaps(nn.Module):
    """Attention between places of maps, whose output is a map again that layers of maps read."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Conv2d(8, 48, 1), nn.Conv2d(16, 8, 3, padding=1)
        self.pool, self.head = nn.AvgPool2d(2), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        count, _, height, width = x.shape
        qkv = self.qkv(x).reshape(count, 3, 4, 4, height * width).unbind(1)
        query, key, value = (each.transpose(2, 3) for each in qkv)
        seen = (query @ key.transpose(2, 3)).softmax(-1) @ value
        seen = seen.transpose(2, 3).reshape(count, 16, height, width)
        return self.head(self.pool(self.proj(seen)).mean((2, 3)))


def test_maps_that_come_from_heads_have_their_own_channels() -> None:
    network = trace_network(AttendedMaps().eval(), (1, 8, 6, 6)).network
    layers = {layer.name: layer for layer in network.layers}
    assert layers["proj"].macs == 16 * 8 * 9 * 36
    pool = next(layer for layer in network.layers if layer.op == "avg_pool")
    assert (pool.in_channels, pool.in_size, pool.out_size) == (8, (6, 6), (3, 3))
