"""Operations of a network found again among an ONNX model's nodes, by what they compute."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from automl.errors import ModelError
from automl.export import matching
from automl.export.float_onnx import float_onnx
from automl.export.matching import Value, find_operations, lost, record_values, run_all
from automl.network.forward_tracer import Address, LeafCall
from automl.network.trace import record

SHAPE = (1, 3, 6, 6)


class Small(nn.Module):
    """A convolution, a shortcut, a linear layer on rows."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 3, 1), nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv(x)) + x
        return self.head(x.flatten(2).transpose(1, 2))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return Small().eval()


def example() -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values of more than sixteen elements are large, and asked for by themselves."""
    monkeypatch.setattr(matching, "KEPT", 16)
    monkeypatch.setattr(matching, "TOGETHER", 16)


def addresses(network: nn.Module) -> dict[str, Address]:
    """Where the network's operations are, by their names."""
    return {call.step.op: call.step.address for call in record(network, example()).calls}


def test_what_was_read_and_written_is_kept(network: nn.Module) -> None:
    at = addresses(network)
    recorded = record_values(network, [at["conv"], at["add"]], example())
    assert set(recorded.steps) == {at["conv"], at["add"]}
    (image,) = recorded.inputs[at["conv"]]
    assert (image.kept == example().numpy()).all()
    first, second = recorded.inputs[at["add"]]
    assert (first.kept + second.kept == recorded.outputs[at["add"]].kept).all()


def test_of_large_values_some_channels_are_kept_and_the_range_of_all(few: None) -> None:
    whole = np.zeros((1, 12, 4, 4), np.float32)
    whole[0, 3], whole[0, 5] = 2.0, -8.0
    value = Value.of(whole)
    assert (value.shape, value.step, value.kept.shape) == ((1, 12, 4, 4), 16, (1, 1, 4, 4))
    assert (value.low, value.high, value.mean, value.scale) == (-8.0, 2.0, -0.5, 8.0)
    assert value.finite
    whole[0, 7, 1, 1] = np.nan
    assert not Value.of(whole).finite
    assert Value.of(np.zeros((0, 3), np.float32)).scale == 0.0


@pytest.mark.parametrize("thorough", [False, True], ids=["recorded", "captured"])
def test_large_values_are_found_by_what_is_kept_of_them(few: None, thorough: bool) -> None:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.ZeroPad2d(1), nn.Conv2d(8, 8, 3))
    network = nn.Sequential(*layers).eval()
    with torch.no_grad():
        for layer in (layers[0], layers[1]):
            for parameter in layer.parameters():
                parameter[0] = 0.0  # of both, the channels that are kept are all zeros
    calls = record(network, example()).calls
    wanted = [call.step.address for call in calls if call.step.op == "conv"]
    model = onnx.load_from_string(float_onnx(network, SHAPE, thorough=thorough))
    found = find_operations(model, record_values(network, wanted, example()))
    convolutions = [node.output[0] for node in model.graph.node if node.op_type == "Conv"]
    assert [found[each].value for each in wanted] == convolutions
    assert [found[each].positions[0] for each in wanted] == [0, 0, 0]


@pytest.mark.parametrize("thorough", [False, True], ids=["recorded", "captured"])
def test_operations_are_found_whatever_they_are_called(network: nn.Module, thorough: bool) -> None:
    at = addresses(network)
    wanted = [at["conv"], at["add"], at["linear"]]
    model = onnx.load_from_string(float_onnx(network, SHAPE, thorough=thorough))
    found = find_operations(model, record_values(network, wanted, example()))
    assert found[at["conv"]].node.op_type == "Conv"
    assert found[at["add"]].node.op_type == "Add"
    assert found[at["linear"]].node.op_type in ("MatMul", "Gemm")
    addition = found[at["add"]]
    operands = [addition.node.input[place] for place in addition.positions if place is not None]
    values = run_all(model, example().numpy())
    recorded = record_values(network, [at["add"]], example())
    for name, expected in zip(operands, recorded.inputs[at["add"]], strict=True):
        assert abs(values[name] - expected.kept).max() < 1e-4


@pytest.mark.parametrize("thorough", [False, True], ids=["recorded", "captured"])
def test_what_the_file_pads_inside_a_convolution_is_found(thorough: bool) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.ZeroPad2d((0, 1, 2, 0)), nn.Conv2d(3, 2, 3, 2)).eval()
    at = addresses(network)
    recorded = record_values(network, [at["conv"]], example())
    model = onnx.load_from_string(float_onnx(network, SHAPE, thorough=thorough))
    (match,) = find_operations(model, recorded).values()
    assert [node.op_type for node in model.graph.node].count("Pad") == (0 if thorough else 1)
    assert match.node.op_type == "Conv"
    assert match.positions[0] == 0


def test_an_operation_that_is_not_there_is_named(network: nn.Module) -> None:
    at = addresses(network)
    other = Small().eval()
    other.load_state_dict(network.state_dict())
    with torch.no_grad():
        other.conv.weight.mul_(2.0)
    model = onnx.load_from_string(float_onnx(other, SHAPE))
    with pytest.raises(ModelError, match="no value where conv writes"):
        find_operations(model, record_values(network, [at["conv"]], example()))


def test_every_float_value_of_a_model_is_computed(network: nn.Module) -> None:
    model = onnx.load_from_string(float_onnx(network, SHAPE))
    values = run_all(model, example().numpy())
    assert "input" in values
    assert "output" in values
    assert len(model.graph.output) == 1  # left as it was
    assert abs(values["output"] - network(example()).detach().numpy()).max() < 1e-4


def test_what_was_lost_is_named_by_its_layer_or_its_operation() -> None:
    layer = LeafCall(("a.b", 0), "conv", "a.b", ("", "a"))
    assert "no value where a.b reads" in str(lost(layer, "reads"))
    function = LeafCall(("", 3), "add", "", ("",))
    assert "no value where add of the model writes" in str(lost(function, "writes"))
