"""Operators as ONNX nodes: each writes the shape of its key and computes what it says."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from operator_keys import CONVERSIONS, KEYS, LARGE, ROWS, SMALL, label, output_shape
from torch.nn import functional as F

from automl.errors import MeasureError
from automl.latency.keys import OpKey
from automl.network.layers import OPERATORS, RECURRENT
from automl.profiling import operators
from automl.profiling.data_operators import DATA_OPERATORS
from automl.profiling.graphs import Graph
from automl.profiling.operators import emit, input_shapes, on_tokens


def test_every_operator_is_covered() -> None:
    assert {key.op for key in (*KEYS, *CONVERSIONS)} == set(OPERATORS)


@pytest.mark.parametrize("key", KEYS, ids=label)
def test_an_operator_writes_the_shape_of_its_key(key: OpKey) -> None:
    graph = Graph()
    model = graph.serialise(emit(graph, key, [graph.input(*s) for s in input_shapes(key)]))
    shape = output_shape(model)
    assert shape == operators.output_shape(key)
    if key.op in ("softmax", "matmul"):
        assert shape == (1, key.groups, 50, key.out_channels)
    elif on_tokens(key):
        rows = () if key.in_size == (1, 1) else (key.out_size[0],)
        assert shape == (1, *rows, key.out_channels)
    elif key.op in DATA_OPERATORS:
        assert np.prod(shape) == key.out_channels * np.prod(key.out_size) * key.batch * (
            key.groups if key.op in RECURRENT else 1
        )
    else:
        assert shape == (key.batch, key.out_channels, *key.out_size)


def computed(key: OpKey, *inputs: np.ndarray) -> np.ndarray:
    """What ONNX Runtime computes for the operator alone."""
    graph = Graph()
    model = graph.serialise(emit(graph, key, [graph.input(*s) for s in input_shapes(key)]))
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    given = {value.name: data for value, data in zip(session.get_inputs(), inputs, strict=True)}
    return np.asarray(session.run(None, given)[0])


FUNCTIONS = {
    "celu": F.celu,
    "elu": F.elu,
    "gelu": F.gelu,
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "leaky_relu": F.leaky_relu,
    "mish": F.mish,
    "relu": F.relu,
    "relu6": F.relu6,
    "selu": F.selu,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "softplus": F.softplus,
    "softsign": F.softsign,
    "tanh": torch.tanh,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_activation_is_the_function_of_its_name(name: str) -> None:
    key = OpKey("activation", 4, 4, in_size=SMALL, out_size=SMALL, detail=name)
    data = (4 * np.random.default_rng(0).standard_normal((1, 4, 8, 8))).astype(np.float32)
    expected = FUNCTIONS[name](torch.from_numpy(data)).numpy()
    np.testing.assert_allclose(computed(key, data), expected, rtol=1e-3, atol=1e-3)


def test_an_rms_norm_divides_rows_by_their_size() -> None:
    key = OpKey("norm", 64, 64, in_size=ROWS, out_size=ROWS, detail="rms")
    data = np.random.default_rng(0).standard_normal((1, 50, 64)).astype(np.float32)
    found = computed(key, data) / computed(key, 3.0 * data)  # whatever its factors are
    np.testing.assert_allclose(found, np.ones_like(found), rtol=1e-3)


def test_a_shuffle_lays_the_groups_channels_beside_each_other() -> None:
    key = OpKey("shuffle", 6, 6, groups=2, in_size=(1, 1), out_size=(1, 1))
    data = np.arange(6, dtype=np.float32).reshape(1, 6, 1, 1)
    assert computed(key, data).ravel().tolist() == [0, 3, 1, 4, 2, 5]


def test_a_pool_rounds_up_where_its_key_says_so() -> None:
    up = OpKey("max_pool", 1, 1, (2, 2), (2, 2), in_size=(5, 5), out_size=(3, 3))
    down = OpKey("max_pool", 1, 1, (2, 2), (2, 2), in_size=(5, 5), out_size=(2, 2))
    data = np.arange(25, dtype=np.float32).reshape(1, 1, 5, 5)
    assert computed(up, data).shape == (1, 1, 3, 3)
    assert computed(down, data).ravel().tolist() == [6, 8, 16, 18]


@pytest.mark.parametrize(
    ("detail", "channels", "parts"),
    [("2", 48, (32, 16)), ("3", 48, (16, 16, 16)), ("3", 41, (14, 14, 13)), ("", 16, (8, 8))],
)
def test_a_concatenations_inputs_are_even_in_whole_blocks(
    detail: str, channels: int, parts: tuple[int, ...]
) -> None:
    key = OpKey("concat", channels, channels, in_size=SMALL, out_size=SMALL, detail=detail)
    assert tuple(shape[1] for shape in input_shapes(key)) == parts


def test_rows_of_features_are_told_from_maps() -> None:
    assert on_tokens(OpKey("linear", 8, 8))
    assert on_tokens(OpKey("add", 8, 8, in_size=ROWS, out_size=ROWS))
    assert not on_tokens(OpKey("add", 8, 8))  # of one pixel
    assert not on_tokens(OpKey("add", 8, 8, in_size=LARGE, out_size=LARGE))


def test_what_there_is_no_node_for_is_named() -> None:
    with pytest.raises(MeasureError, match=r"no way to run operator 'lrn'"):
        emit(Graph(), OpKey("lrn", 8, 8), ["x"])
