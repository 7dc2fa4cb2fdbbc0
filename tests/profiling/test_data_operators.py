"""Recurrent operators and those on numbers compute what their names say."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from automl.errors import MeasureError
from automl.latency.keys import OpKey
from automl.profiling.data_operators import data_shapes
from automl.profiling.graphs import Graph
from automl.profiling.operators import emit, output_shape

ROWS, MAPS = (6, 1), (3, 4)


def computed(key: OpKey, *inputs: np.ndarray) -> np.ndarray:
    graph = Graph()
    model = graph.serialise(emit(graph, key, [graph.input(*s) for s in data_shapes(key)[0]]))
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    given = {value.name: data for value, data in zip(session.get_inputs(), inputs, strict=True)}
    found = np.asarray(session.run(None, given)[0])
    assert found.shape == output_shape(key)
    return found


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("detail", "function"),
    [
        ("maximum", np.maximum),
        ("gt", np.greater),
        ("where", np.maximum),  # the larger of the two
    ],
)
def test_two_values_meet_number_by_number(detail: str, function: np.ufunc) -> None:
    key = OpKey("elementwise", 5, 5, groups=2, in_size=MAPS, out_size=MAPS, detail=detail)
    first, second = noise(1, 5, *MAPS), -noise(1, 5, *MAPS) + 0.1
    np.testing.assert_array_equal(computed(key, first, second), function(first, second))


@pytest.mark.parametrize(
    ("detail", "function"),
    [
        ("sum", np.sum),
        ("amax", np.max),
        ("argmax", np.argmax),
        ("var", np.var),
        ("std_mean", np.var),
        ("nanmean", np.mean),
    ],
)
def test_many_numbers_become_one(detail: str, function: object) -> None:
    assert callable(function)
    maps = OpKey("reduce", 5, 5, in_size=MAPS, detail=detail)
    data = noise(1, 5, *MAPS)
    expected = function(data.reshape(1, 5, -1), axis=2)
    np.testing.assert_allclose(computed(maps, data), expected, rtol=1e-5)
    across = OpKey("reduce", 5, 1, in_size=ROWS, out_size=ROWS, detail=detail)
    data = noise(1, 6, 5)
    np.testing.assert_allclose(computed(across, data), function(data, axis=2), rtol=1e-5)


def test_rows_are_gathered_and_the_largest_numbers_sorted() -> None:
    gather = OpKey("gather", 5, 5, in_size=ROWS, out_size=ROWS, detail="embedding")
    rows = noise(6, 5)
    found = computed(gather, rows)
    assert sorted(map(tuple, found.tolist())) == sorted(map(tuple, rows.tolist()))
    sort = OpKey("sort", 5, 1, in_size=ROWS, out_size=(12, 1), detail="topk")
    np.testing.assert_array_equal(computed(sort, rows), -np.sort(-rows, axis=1)[:, :2])


@pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])
def test_a_recurrent_operator_writes_its_state_at_each_step(op: str) -> None:
    key = OpKey(op, 5, 4, groups=2, in_size=ROWS, out_size=ROWS, batch=3)
    found = computed(key, noise(6, 3, 5))
    assert found.shape == (6, 2, 3, 4)
    assert float(np.abs(found).max()) <= 1.0
    assert float(np.abs(found[1:] - found[:-1]).max()) > 0.0


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (OpKey("elementwise", 5, 5, detail="maximun"), r"elementwise 'maximun' \(did you mean max"),
        (OpKey("reduce", 5, 5, detail="summ"), r"reduce 'summ' \(did you mean sum"),
        (OpKey("lstm", 5, 4, detail="8"), "writes fewer channels than it holds"),
    ],
)
def test_what_there_is_no_node_for_is_named(key: OpKey, said: str) -> None:
    with pytest.raises(MeasureError, match=said):
        emit(Graph(), key, ["x", "y"])
