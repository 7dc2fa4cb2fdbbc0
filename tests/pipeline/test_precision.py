"""What of the precisions that are asked for a target has, and a budget has a use for."""

from __future__ import annotations

import pytest

from automl.errors import UsageError
from automl.latency.header import TableHeader
from automl.pipeline.precision import BitChoices, choose_bits, floats_of, precisions_of, scheme_of
from automl.policy.policy import Bits
from automl.policy.precisions import Precisions

CPU = Precisions(("fp32", "int8"))
JETSON = Precisions(("fp16",))
SIMULATOR = Precisions(("w2a2", "w4a4", "w8a8"), simulated=True)
INT8, FP32 = Bits(8, 8), Bits()


def header(**fields: object) -> TableHeader:
    return TableHeader(**{"name": "t", "device": "d", "runtime": "onnxruntime", **fields})  # type: ignore[arg-type]


def test_auto_is_what_pays() -> None:
    auto = ("auto",)
    assert choose_bits(auto, "cpu", CPU, {"latency"}) == BitChoices((INT8, FP32))
    assert choose_bits(auto, "cpu", CPU, {"bytes"}) == BitChoices((), tuple(range(1, 9)))
    both = choose_bits(auto, "cpu", CPU, {"latency", "bytes"}, keep_first_last=True)
    assert both == BitChoices((INT8, FP32), tuple(range(1, 9)), True)
    simulated = choose_bits(auto, "bitfusion", SIMULATOR, {"latency", "bytes"})
    assert simulated.precisions == (Bits(2, 2), Bits(4, 4), Bits(8, 8))
    assert not simulated.weight_only  # it has no float to compute in


def test_what_has_no_choice_is_said() -> None:
    (said,) = choose_bits(("auto",), "jetson-nano", JETSON, {"latency"}).notes
    assert said == "no bits are chosen: jetson-nano has fp16 alone"
    assert choose_bits(("auto",), "cpu", CPU, {"macs"}) == BitChoices()
    assert not choose_bits(("float",), "cpu", CPU, {"latency"}).any


def test_names_are_taken_with_the_dense_precision_beside() -> None:
    asked = choose_bits(("int8", "w4", "w2-w3"), "cpu", CPU, {"bytes", "latency"})
    assert set(asked.precisions) == {INT8, FP32}
    assert asked.weight_only == (2, 3, 4)
    grid = choose_bits(("w2a2", "w4a4"), "bitfusion", SIMULATOR, {"latency"})
    assert set(grid.precisions) == {Bits(2, 2), Bits(4, 4), Bits(8, 8)}


@pytest.mark.parametrize(
    ("words", "precisions", "limited", "said"),
    [
        (("int4",), CPU, "latency", "no precision int4: it has fp32 and int8 .did you mean int8"),
        (("int8",), JETSON, "latency", "no precision int8: it has fp16"),
        (("w4",), CPU, "latency", "w4 rounds weights alone, which saves size and not time"),
        (("w4",), SIMULATOR, "bytes", "w4 computes in float, which it does not have"),
    ],
)
def test_what_the_target_lacks_is_refused(
    words: tuple[str, ...], precisions: Precisions, limited: str, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        choose_bits(words, "it", precisions, [limited])  # type: ignore[list-item]


def test_ends_are_held_only_where_bits_are_chosen() -> None:
    with pytest.raises(UsageError, match="needs precisions to choose from"):
        choose_bits(("float",), "cpu", CPU, {"latency"}, keep_first_last=True)


def test_the_form_is_that_of_the_table_or_of_its_runtime() -> None:
    assert scheme_of(header()) is None
    assert scheme_of(header(precisions=("fp32", "int8"))) == "qdq-u8s8"
    assert scheme_of(header(precisions=("fp32", "int8"), scheme="qdq-s8s8")) == "qdq-s8s8"
    assert scheme_of(header(precisions=("fp16", "int8"), runtime="tensorrt")) == "qdq-s8s8-residual"
    ncnn = header(precisions=("fp32", "int8"), runtime="ncnn")
    assert scheme_of(ncnn) == "qdq-s8s8"
    simulator = header(precisions=("w2a2", "w8a8"), unit="cycles")
    assert scheme_of(simulator) is None
    assert precisions_of(simulator).simulated


def test_a_strongly_typed_runtime_gets_files_in_the_floats_that_it_computes_in() -> None:
    assert floats_of(header(precisions=("fp16", "int8"), runtime="tensorrt")) == "fp16"
    assert floats_of(header(precisions=("fp32", "fp16"), runtime="tensorrt")) == "fp32"
    assert floats_of(header(precisions=("fp16",), runtime="tflite")) == "fp32"
