"""What runs on values in heads shrinks with them."""

from __future__ import annotations

from attention_forms import SHAPE, build

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
