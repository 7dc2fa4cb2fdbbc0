import pytest

from automl.errors import TableError, UsageError
from automl.policy.policy import Bits
from automl.policy.precisions import (
    Precisions,
    bits_of,
    described,
    fineness,
    format_bits,
    is_float,
    is_weight_only,
    parse_precision,
    parse_precisions,
    plain_precision,
    with_kernel,
)


def test_names_mean_bits_and_bits_have_names() -> None:
    names = ("fp32", "fp16", "int8", "w4a6")
    bits = [Bits(32, 32), Bits(16, 16), Bits(8, 8), Bits(4, 6)]
    assert [bits_of(name) for name in names] == bits
    assert [format_bits(each) for each in bits] == list(names)
    assert format_bits(Bits(3, 32)) == "w3"
    assert [is_float(each) for each in bits] == [True, True, False, False]
    assert [is_weight_only(each) for each in (*bits, Bits(3, 32))] == [False] * 4 + [True]
    for odd in ("fp33", "w4", "w0a4", "w33a1", ""):
        with pytest.raises(TableError, match="unknown precision"):
            bits_of(odd)


@pytest.mark.parametrize(
    ("names", "dense", "has_float"),
    [
        (("int8", "fp32"), "fp32", True),
        (("fp16", "int8"), "fp16", True),
        (("w2a2", "w8a8", "w8a2"), "w8a8", False),
    ],
)
def test_the_dense_precision_is_float_or_the_finest(
    names: tuple[str, ...], dense: str, has_float: bool
) -> None:
    found = Precisions(names)
    assert found.dense == dense
    assert found.has_float == has_float
    assert found.bits[-1] == bits_of(dense)
    assert list(found.bits) == sorted(found.bits, key=fineness)


def test_bits_are_called_what_the_table_calls_them() -> None:
    simulator = Precisions(("w2a2", "w8a8"), simulated=True)
    assert simulator.name_of(Bits(8, 8)) == "w8a8"
    assert Precisions(("fp16", "int8")).name_of(Bits(8, 8)) == "int8"
    assert Precisions(("fp16", "int8")).name_of(Bits(4, 32)) == "fp16"  # computes in float


def test_special_kernels_are_no_choice_of_bits() -> None:
    found = Precisions(("fp16", "int8", "fp16+2:4", "int8+2:4"))
    assert [bits_of(name) for name in found.names[2:]] == [Bits(16, 16), Bits(8, 8)]
    assert found.kernels == {"2:4"}
    assert found.bits == (Bits(8, 8), Bits(16, 16))
    assert (found.dense, found.name_of(Bits(8, 8))) == ("fp16", "int8")
    assert Precisions(("int8+2:4", "int8")).name_of(Bits(8, 8)) == "int8"
    assert with_kernel("fp16", "2:4") == "fp16+2:4"
    assert with_kernel("fp16", "") == plain_precision("fp16+2:4") == "fp16"
    with pytest.raises(TableError, match="names no kernel"):
        bits_of("fp16+")
    with pytest.raises(TableError, match="unknown precision"):
        bits_of("+2:4")


def test_many_precisions_are_described_by_their_ends() -> None:
    assert described(("fp32", "int8")) == "fp32 and int8"
    assert described(("fp32",)) == "fp32"
    assert described(("a", "b", "c", "d", "e")) == "a to e (5)"


def test_what_is_asked_for_is_read() -> None:
    assert parse_precisions(" INT8, w4,w2-w6 ") == ("int8", "w4", "w2-w6")
    assert parse_precisions("auto") == ("auto",)
    assert parse_precision("w2-w6") == parse_precision("w2-6") == range(2, 7)
    assert parse_precision("w4") == range(4, 5)
    assert parse_precision("int4") == Bits(4, 4)
    assert parse_precision("w4a6") == Bits(4, 6)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("int8,auto", "auto stands by itself"),
        ("fp8", "precision 'fp8' is not understood: write auto"),
        ("w9", "not understood"),
        ("", "not understood"),
    ],
)
def test_what_is_no_precision_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_precisions(text)
