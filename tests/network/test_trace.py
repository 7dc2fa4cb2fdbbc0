"""One recorded pass: operations in order, the values between them, the labels of their channels."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from automl.network.labels import INPUT, OUTPUT, WRITTEN
from automl.network.recorded import Trace, addresses
from automl.network.trace import record


class Branches(nn.Module):
    """A layer that is used twice, a depthwise one, a branch that is added."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.deep = nn.Conv2d(4, 8, 3, padding=1, groups=4)
        self.inner = nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU())
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.deep(F.relu(self.stem(x)))
        x = x + self.inner(x)
        return self.head(x.mean((2, 3)))


def traced() -> Trace:
    torch.manual_seed(0)
    return record(Branches().eval(), torch.randn(1, 3, 6, 6))


def test_operations_are_recorded_in_the_order_in_which_they_run() -> None:
    found = [(call.step.op, call.step.module) for call in traced().calls]
    assert found == [
        ("conv", "stem"),
        ("relu", ""),
        ("conv", "deep"),
        ("conv", "inner.0"),
        ("relu", ""),
        ("add", ""),
        ("mean", ""),
        ("linear", "head"),
    ]


def test_each_value_has_one_producer_and_all_of_its_readers() -> None:
    trace = traced()
    (addition,) = (call for call in trace.calls if call.step.op == "add")
    producers = trace.producers()
    assert [producers[value].step.address[0] for value in addition.inputs] == ["deep", "inner.1"]
    users = trace.users()[producers[addition.inputs[0]].outputs[0]]
    assert [call.step.op for call in users] == ["conv", "add"]
    assert trace.output == trace.calls[-1].outputs
    assert trace.output_shapes == ((1, 5),)


def test_modules_tell_the_values_that_enter_and_leave_them() -> None:
    trace = traced()
    written = addresses(trace)
    (entered,), (left,) = trace.modules["inner"]
    assert (written[entered][0], written[left][0]) == ("deep", "inner.1")
    assert "stem" not in trace.modules  # a layer is visited whole


def test_layers_bind_the_labels_of_their_sides() -> None:
    trace = traced()
    assert set(trace.bindings) == {
        ("stem", "in"),
        ("stem", "out"),
        ("deep", "through"),
        ("inner.0", "in"),
        ("inner.0", "out"),
        ("head", "in"),
        ("head", "out"),
    }
    roots = {side: trace.union.roots(labels).tolist() for side, labels in trace.bindings.items()}
    assert roots["deep", "through"] == roots["stem", "out"]
    assert roots["inner.0", "in"] == roots["inner.0", "out"]  # added to what they were made of
    assert roots["head", "in"] == roots["inner.0", "in"]
    assert len(set(roots["head", "in"])) == 4  # two copies of each channel of the stem


def test_ends_of_the_network_stay() -> None:
    trace = traced()

    def why(*side: str) -> set[str | None]:
        roots = trace.union.roots(trace.bindings[side[0], side[1]]).tolist()
        return {trace.union.unprunable(root) for root in roots}

    assert why("stem", "in") == {INPUT}
    assert why("head", "out") == {OUTPUT}
    assert why("stem", "out") == {None}


def test_without_labels_only_shapes_are_recorded() -> None:
    torch.manual_seed(0)
    plain = record(Branches().eval(), torch.randn(1, 3, 6, 6), labelled=False)
    assert [call.out_shapes for call in plain.calls] == [call.out_shapes for call in traced().calls]
    assert plain.bindings == {}
    assert not any(call.out_labels.any() for call in plain.calls)


def test_a_layer_that_runs_twice_has_the_channels_of_both_its_inputs() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.shared = nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.shared(self.a(x)) * self.shared(self.b(x))

    trace = record(Twice().eval(), torch.randn(1, 3))
    one, other = (trace.union.roots(trace.bindings[name, "out"]).tolist() for name in ("a", "b"))
    assert one == other


def test_what_is_written_into_a_part_of_a_tensor_stays() -> None:
    class Written(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            whole = torch.zeros_like(x)
            whole[:, :, ::2] = x[:, :, ::2]
            return self.b(whole)

    trace = record(Written().eval(), torch.randn(1, 3, 6, 6))
    roots = trace.union.roots(trace.bindings["a", "out"]).tolist()
    assert {trace.union.unprunable(root) for root in roots} == {WRITTEN}


def test_tokens_have_their_channels_last() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches, self.mix = nn.Conv2d(3, 4, 2, 2), nn.Linear(4, 6)

        def forward(self, x: Tensor) -> Tensor:
            return self.mix(self.patches(x).permute(0, 2, 3, 1)).relu()

    trace = record(Tokens().eval(), torch.randn(1, 3, 6, 6))
    assert [(call.step.op, call.out_dims == (3,)) for call in trace.calls] == [
        ("conv", False),
        ("permute", True),
        ("linear", True),
        ("relu", True),
    ]
