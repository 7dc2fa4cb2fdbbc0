"""The tracer: addresses that stay, and layers of derived classes visited as layers."""

from __future__ import annotations

import copy
from typing import Any

import torch
import zoo_tokens
from specimens import specimen
from torch import nn
from torch.utils._pytree import tree_map

from automl.network.forward_tracer import Address, ForwardTracer, LeafCall, leaf_kind
from automl.network.surgery import mask, smaller
from automl.network.trace import record
from automl.network.traced_model import trace_network


class Halving(ForwardTracer):
    """Halves the weights of each convolution before it runs, and notes the steps."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.before_steps: list[Address] = []
        self.after_steps: list[Address] = []

    def before(self, step: LeafCall, module: nn.Module, args: tuple[Any, ...]) -> None:
        self.before_steps.append(step.address)
        if isinstance(module, nn.Conv2d):
            module.weight = nn.Parameter(module.weight.detach() / 2)

    def after(
        self, step: LeafCall, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        if step.module:
            self.after_steps.append(step.address)


def test_a_change_made_before_a_layer_takes_effect_in_the_same_pass() -> None:
    for conv in (nn.Conv2d(3, 4, 3, 2, bias=False), zoo_tokens.SameConv(3, 4, 3, 2, bias=False)):
        model, image = nn.Sequential(conv), torch.randn(1, 3, 9, 9)
        expected = model(image) / 2
        tracer = Halving(model)
        with tracer.attached():
            found = model(image)
        torch.testing.assert_close(found, expected)
        assert tracer.before_steps == tracer.after_steps
        assert [name for name, _ in tracer.after_steps] == ["0"]


def test_a_derived_layer_with_other_weights_or_geometry_is_not_that_layer() -> None:
    class Standardised(nn.Conv2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
            return torch.nn.functional.conv2d(x, weight, self.bias, padding=1)

    class Strided(nn.Conv2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.conv2d(x, self.weight, self.bias, 2)

    for conv in (Standardised(3, 4, 3), Strided(3, 4, 3)):
        calls = record(nn.Sequential(conv), torch.zeros(1, 3, 8, 8)).calls
        assert [call.step.op for call in calls] == ["convolution"]
        assert [call.step.module for call in calls] == [""]


def test_parametrised_weights_make_no_plain_layer() -> None:
    assert leaf_kind(nn.Linear(3, 4)) == "linear"
    assert leaf_kind(nn.utils.parametrizations.weight_norm(nn.Linear(3, 4))) == ""
    assert leaf_kind(zoo_tokens.SameConv(3, 4, 3)) == ""


def test_addresses_stay_when_channels_and_blocks_go() -> None:
    traced = specimen("residual").traced
    kept = {group.name: torch.arange(group.channels // 2) for group in traced.network.groups}
    small = smaller(traced.model, traced.network.groups, kept, frozenset({"stage1.1"}))
    dense = [(call.step.address, call.step.op) for call in traced.trace.calls]
    cut = [(c.step.address, c.step.op) for c in record(small, torch.zeros(1, 3, 16, 16)).calls]
    assert cut == [step for step in dense if not step[0][0].startswith("stage1.1")]


def test_fused_attention_is_opened_and_closed_again() -> None:
    assert torch.backends.mha.get_fastpath_enabled()
    ops = {call.step.op for call in specimen("encoder").traced.trace.calls}
    assert not any("transformer_encoder" in op or "native_multi_head" in op for op in ops)
    assert torch.backends.mha.get_fastpath_enabled()


def test_without_labels_operations_and_shapes_are_the_same() -> None:
    seen = specimen("shuffle v2")
    bare = record(seen.traced.model, seen.example, labelled=False)
    full = seen.traced.trace
    assert [(c.step, c.in_shapes, c.out_shapes) for c in bare.calls] == [
        (c.step, c.in_shapes, c.out_shapes) for c in full.calls
    ]
    assert not bare.bindings


class Doubling(ForwardTracer):
    """Doubles what convolutions and additions read."""

    def given(
        self, step: LeafCall, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if step.op in ("conv", "add"):
            return tree_map(lambda value: 2 * value, (args, kwargs))  # type: ignore[no-any-return]
        return args, kwargs


def test_what_an_operation_reads_can_be_replaced() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.plain, self.same = nn.Conv2d(3, 3, 1), zoo_tokens.SameConv(3, 3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.plain(input=x) + x
            z: torch.Tensor = self.same(y)
            return z.relu()

    model, image = Net(), torch.randn(2, 3, 5, 5)
    with torch.no_grad():
        expected = model.same(2 * (2 * (model.plain(2 * image) + image))).relu()
        with Doubling(model).attached():
            found = model(image)
    torch.testing.assert_close(found, expected)


def test_a_batch_norm_without_statistics_is_one_of_each_input() -> None:
    plain, alone = nn.BatchNorm2d(4), nn.BatchNorm2d(4, track_running_stats=False)
    assert [leaf_kind(each) for each in (plain, alone)] == ["batch_norm", "instance_norm"]
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, track_running_stats=False))
    model += nn.Sequential(nn.ReLU(), nn.Conv2d(8, 4, 1))
    traced = trace_network(model.eval(), (1, 3, 8, 8))
    assert [layer.op for layer in traced.network.layers] == [
        "conv2d",
        "norm",
        "activation",
        "conv2d",
    ]
    double, groups = copy.deepcopy(traced.model).double(), traced.network.groups
    kept, x = {"0": torch.tensor([0, 3, 4])}, torch.randn(1, 3, 8, 8).double()
    expected = mask(double, groups, kept)(x)
    torch.testing.assert_close(smaller(double, groups, kept)(x), expected, rtol=1e-12, atol=1e-12)
