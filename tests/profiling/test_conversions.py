"""Models whose difference is a conversion between float and integers."""

from __future__ import annotations

import onnx
import pytest
from operator_keys import CONVERSIONS, counts, label, output_shape

from automl.errors import MeasureError
from automl.latency.keys import OpKey
from automl.profiling.conversions import conversion

MAPS = OpKey("convert", 64, 64, in_size=(8, 8), out_size=(8, 8), detail="quantize")


@pytest.mark.parametrize("key", CONVERSIONS, ids=label)
@pytest.mark.parametrize("apart", [False, True])
def test_both_models_compute_the_same_operators(key: OpKey, apart: bool) -> None:
    (there, _), (away, _) = (conversion(key, 3, converted, apart) for converted in (True, False))
    for content in (there, away):
        assert all(extent > 0 for extent in output_shape(content))
    assert counts(there) == counts(away)


@pytest.mark.parametrize("key", CONVERSIONS, ids=label)
def test_what_stays_float_is_a_node_of_the_model(key: OpKey) -> None:
    content, floats = conversion(key, 3, True, False)
    made = {name for node in onnx.load_from_string(content).graph.node for name in node.output}
    assert floats <= made
    outside = key.in_size[1] == 1 or key.in_channels == 3  # floats come in from outside
    assert bool(floats) != (outside and key.detail == "quantize")


def crossings(key: OpKey, copies: int, converted: bool) -> int:
    """Values that a float node computes and an integer one reads, or the other way round."""
    content, floats = conversion(key, copies, converted, False)
    nodes = list(onnx.load_from_string(content).graph.node)
    made = {node.output[0]: node.output[0] in floats for node in nodes}
    crossed = {
        (name, node.output[0] in floats)
        for node in nodes
        for name in node.input
        if name in made and made[name] != (node.output[0] in floats)
    }
    return len(crossed)


@pytest.mark.parametrize("detail", ["quantize", "dequantize"])
def test_one_model_crosses_as_often_as_there_are_copies_and_the_other_never(detail: str) -> None:
    key = OpKey("convert", 64, 64, in_size=(8, 8), out_size=(8, 8), detail=detail)
    assert crossings(key, 5, converted=True) == 5
    assert crossings(key, 5, converted=False) == 0


def test_an_image_is_converted_from_outside() -> None:
    key = OpKey("convert", 3, 3, in_size=(16, 16), out_size=(16, 16), detail="quantize")
    there, away = (
        onnx.load_from_string(conversion(key, 4, converted, False)[0]).graph.input
        for converted in (True, False)
    )
    assert (len(there), len(away)) == (5, 1)


def test_another_way_is_refused() -> None:
    key = OpKey("convert", 8, 8, detail="quantise")
    with pytest.raises(MeasureError, match=r"'quantise' \(did you mean quantize"):
        conversion(key, 3, True, False)
