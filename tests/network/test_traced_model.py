"""What is read from the zoo: that it can be cut as said, and that nothing is lost in silence."""

from __future__ import annotations

import warnings

import attention_forms
import pytest
import torch
from exact import some
from specimens import NETWORKS, Specimen, build, specimen
from torch import nn

from automl.errors import ModelError
from automl.export.counting import count_macs
from automl.network.surgery import smaller
from automl.network.traced_model import fingerprint_of, trace_network


def test_macs_are_those_of_fvcore(each: Specimen) -> None:
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # fvcore sees nothing inside it
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch.jit, which fvcore traces with
            from fvcore.nn import FlopCountAnalysis

            counted = FlopCountAnalysis(each.traced.model, each.example)
            counted.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
            operators = counted.by_operator()
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    weighted = ("conv", "linear", "addmm", "matmul", "bmm", "mm", "einsum", "baddbmm")
    expected = sum(operators[name] for name in weighted)
    if each.name == "encoder":  # fvcore does not know scaled_dot_product_attention
        expected += 2 * 2 * (2 * 16 * 16 * 8)  # layers, products, heads x tokens^2 x size
    assert sum(layer.macs for layer in each.traced.network.layers) == expected


ATTENTION = {f"attention, {name}": attention_forms.build for name in attention_forms.FORMS}


@pytest.mark.parametrize("name", [*NETWORKS, *ATTENTION])
def test_macs_of_what_is_cut_are_those_of_fvcore(name: str) -> None:
    """Of torch's fused attention, which fvcore does not know, the rest is compared."""
    if name in ATTENTION:
        model, shape = attention_forms.build(name.partition(", ")[2]), attention_forms.SHAPE
        traced = trace_network(model, shape)
    else:
        found = specimen(name)
        traced, shape = found.traced, tuple(found.example.shape)
    groups = traced.network.groups
    for kept in ({}, some(traced, 3, 0.6)):
        small = smaller(traced.model, groups, kept)
        layers = traced.network.shapes({group: len(stay) for group, stay in kept.items()})
        counted = count_macs(small, shape)
        assert set(counted.unknown) <= {"scaled_dot_product_attention"}
        hidden = (".qk", ".av") if counted.unknown else ()
        known = [layer.macs for layer in layers if not layer.name.endswith(hidden)]
        assert sum(known) == counted.macs


def test_reading_is_deterministic_and_leaves_the_model_alone() -> None:
    model, example = build("inverted")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    first = trace_network(model, example.shape).network
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert trace_network(model, example.shape).network == first
    assert first == specimen("inverted").traced.network
    assert first.fingerprint == fingerprint_of(model)


GROUPS = {
    "chain": "features.0 features.4 features.8 hidden",
    "residual": "stem.0 stage1.0.first.0 stage1.1.first.0 stage2.0.first.0 stage2.0.second.0 "
    "stage2.1.first.0",
    "padded residual": "stem.0 stage1.0.first.0 stage1.1.first.0 stage2.0.first.0 stage2.1.first.0",
    "pre-activation": "stem blocks.0.conv1 blocks.1.project blocks.1.conv1 blocks.2.conv1",
    "bottleneck": "stem.0 blocks.0.reduce.0 blocks.0.spatial.0 blocks.0.expand.0 "
    "blocks.1.reduce.0 blocks.1.spatial.0 blocks.2.reduce.0 blocks.2.spatial.0 blocks.2.expand.0",
    "grouped": "stem.0 blocks.0.reduce.0 blocks.0.spatial.0 blocks.0.expand.0 "
    "blocks.1.reduce.0 blocks.1.spatial.0 blocks.2.reduce.0 blocks.2.spatial.0 blocks.2.expand.0",
    "inverted": "stem.0 blocks.0.expand.0 blocks.0.squeeze.reduce blocks.1.expand.0 "
    "blocks.1.squeeze.reduce blocks.1.project.0 blocks.2.expand.0 blocks.2.squeeze.reduce last.0",
    "dense": "stem block1.0.conv1 block1.0.conv2 block1.1.conv1 block1.1.conv2 transition "
    "block2.0.conv1 block2.0.conv2 block2.1.conv1 block2.1.conv2",
    "inception": "stem.0 mixed1.one.0 mixed1.three.0.0 mixed1.three.2.0 mixed1.pool.1.0 "
    "mixed2.one.0 mixed2.three.0.0 mixed2.three.2.0 mixed2.pool.1.0",
    "shuffle v1": "stem.0 blocks.0.reduce.0 blocks.1.reduce.0",
    "shuffle v2": "stem.0 down.first.0 down.left.1.0 down.left.1.0#2 down.left.1.0#3 "
    "units.0.first.0 units.1.first.0 last.0",
    "ghost attention": "stem.0 first.gate.0.0 second.gate.0.0 last.0",
    "odd ghosts": "stem.0 first.gate.0.0 second.gate.0.0 last.0",
    "unet": "down1.0 down2.0 middle.0 up2 merge2.0 up1.0 merge1.0",
    "linears": "first second",
    "transformer": "patches blocks.0.attention.qkv blocks.0.attention.qkv#2 "
    "blocks.0.attention.qkv#3 blocks.0.mlp.0 blocks.1.attention.qkv blocks.1.attention.qkv#2 "
    "blocks.1.attention.qkv#3 blocks.1.mlp.0",
    "encoder": "patches post.self_attn.q_proj post.self_attn.q_proj#2 post.self_attn.v_proj "
    "post.linear1 pre.self_attn.q_proj pre.self_attn.q_proj#2 pre.self_attn.v_proj pre.linear1",
    "self-attention": "embed attention.q_proj attention.q_proj#2 attention.v_proj mlp.0",
    "layer scale": "stem blocks.0.up blocks.1.up down",
    "shared": "stem.0 inner.0",
    "functional": "after.0",
    "overridden": "stem last",
    "mixture": "stem.0 middle.0 normed inner",
    "tuple": "stem.0 middle.0 normed inner",
    "pixels": "stem.0 up inner",
}

BLOCKS = {
    "residual": "stage1.0 stage1.1 stage2.1",
    "padded residual": "stage1.0 stage1.1 stage2.1",
    "pre-activation": "blocks.0 blocks.2",
    "bottleneck": "blocks.1",
    "grouped": "blocks.1",
    "inverted": "blocks.0 blocks.2",
    "shuffle v1": "blocks.0 blocks.1",
    "transformer": "blocks.0.attention blocks.0.mlp blocks.1.attention blocks.1.mlp",
    "encoder": "pre",
    "self-attention": "mlp",
    "layer scale": "blocks.0 blocks.1",
}

FUNCTIONAL = "its channels are read by weights that belong to no layer"
FIXED = "its channels meet values of fixed size (add)"
FROZEN = {
    "padded residual": {"stage2.0.second.0": FIXED, "stage2.1.second.0": FIXED},
    "functional": dict.fromkeys(("stem.0", "last"), FUNCTIONAL),
    "pixels": {"side": "its channels are written into a part of another tensor"},
}


def test_what_can_be_chosen_is_found_and_the_rest_is_named(each: Specimen) -> None:
    network = each.traced.network
    assert [group.name for group in network.groups] == GROUPS[each.name].split()
    assert [block.name for block in network.blocks] == BLOCKS.get(each.name, "").split()
    assert {part.name: part.reason for part in network.unprunable} == FROZEN.get(each.name, {})


def test_every_network_of_the_zoo_has_its_expectation() -> None:
    assert set(GROUPS) == set(NETWORKS)


def test_resolutions_are_those_with_an_unchanged_output() -> None:
    assert specimen("inverted").traced.network.resolutions == (16, 20, 24, 28, 32)
    assert specimen("unet").traced.network.resolutions == (16,)
    assert specimen("transformer").traced.network.resolutions == (16,)


class FixedSizes(nn.Module):
    """Asks for its sizes in the forward pass: one layer breaks when it is cut, others do not."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.fine, self.head = nn.Conv2d(8, 6, 1), nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.first(x))
        if len(x[0]) != 8:
            raise ValueError
        x = torch.relu(self.second(x))
        return self.head(torch.relu(self.fine(x)).mean((2, 3)))


def test_a_part_that_breaks_is_left_alone_and_named() -> None:
    network = trace_network(FixedSizes(), (1, 3, 16, 16)).network
    assert [group.name for group in network.groups] == ["second", "fine"]
    assert [(part.name, part.reason) for part in network.unprunable] == [
        ("first", "the network no longer runs when it is cut")
    ]


class Balanced(nn.Module):
    """Refuses to run where two of its widths are both cut, and runs where either is."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.layers[1].out_features < 8 and self.layers[3].out_features < 8:
            raise ValueError("not both")
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return x


def test_of_parts_that_clash_only_one_is_given_up() -> None:
    network = trace_network(Balanced(), (1, 8)).network
    assert [group.name for group in network.groups] == [f"layers.{i}" for i in (0, 1, 2, 4)]
    assert [(part.name, part.reason) for part in network.unprunable] == [
        ("layers.3", "it breaks the network together with other parts")
    ]


def test_a_model_that_does_not_run_is_told_with_the_shape() -> None:
    with pytest.raises(ModelError, match="input of shape 1x4x16x16"):
        trace_network(build("chain")[0], (1, 4, 16, 16))


class Halving(nn.Module):
    """Pools large inputs once more than small ones."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps: torch.Tensor = self.layer(images)
        return nn.functional.max_pool2d(maps, 2) if images.shape[-1] > 20 else maps


def test_the_datas_inputs_pass_through_the_operations_that_are_priced() -> None:
    model = Halving()
    assert trace_network(model, (1, 3, 24, 40), shown=(1, 3, 32, 32)).network.resolutions == (40,)
    with pytest.raises(ModelError, match=r"other operations on inputs of 3x16x16, .* 3x24x40"):
        trace_network(model, (1, 3, 24, 40), shown=(1, 3, 16, 16))
    flat = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    with pytest.raises(ModelError, match="scored at the one and priced at the other"):
        trace_network(flat, (1, 3, 4, 4), shown=(1, 3, 8, 8))
