"""Rows of the scoreboard: layers in fewer bytes, beside others of as many."""

from __future__ import annotations

from collections.abc import Callable
from statistics import mean
from typing import Any

from scored import Bench, Check, Figures, Row

from automl.compression import form_of, layer_of, matrix, set_matrix
from automl.compression.quantization.rounding import corrected_bias
from automl.compression.quantization.second_order import SecondOrder
from automl.network import Layer
from automl.policy import FLOAT_BITS, Bits, operators_bytes

#: Lengths of stretches and bits of an index that are looked among.
_LENGTHS, _INDEX = range(2, 13), range(1, 9)


def size(option: str, module: Any) -> float:
    """Bytes of a layer of that form in a packed file."""
    name, _, parameter = option.partition(":")
    form = form_of(name)
    return float(form.bytes(form.read(parameter), bare(module), Bits()))


def bare(module: Any) -> Layer:
    """The layer's geometry."""
    layer = layer_of(module)
    assert layer is not None
    return layer


def total(bench: Bench, each: Callable[[Any], float]) -> float:
    """Of all 3 x 3 convolutions but the first."""
    return sum(each(bench.traced.model.get_submodule(name)) for name in bench.convolutions)


def rounded_error(bench: Bench, bits: Bits) -> float:
    """The mean error of one 3 x 3 convolution with weights in so few bits at a time."""
    found, model = list[float](), bench.traced.model
    bench.error(model)  # what others are compared with, before anything is changed
    for name in bench.convolutions:
        module: Any = model.get_submodule(name)
        before, bias = matrix(module).clone(), module.bias.detach().clone()
        moments = bench.compressor.joint.moments_of(name)
        values, _ = SecondOrder().round(before, moments, bits)
        try:
            set_matrix(module, values)
            module.bias.data.copy_(corrected_bias(before, values, moments, bias))
            found.append(bench.error(model))
        finally:
            set_matrix(module, before)
            module.bias.data.copy_(bias)
    return mean(found)


def outliers(bench: Bench) -> Figures:
    """3 bits and one weight of a hundred as it is, beside 3 and 4 bits for all."""
    three, four = (rounded_error(bench, Bits(bits, 8)) for bits in (3, 4))
    own = bench.form_error("outliers:3-1")
    dense = total(bench, lambda module: float(operators_bytes([bare(module)], Bits(4, 8))))
    held = total(bench, lambda module: size("outliers:3-1", module))
    return {
        "error": own,
        "w3": three,
        "w4": four,
        "over w3": own / three,
        "over w4": own / four,
        "bytes over w4": held / dense,
    }


def stretched(module: Any) -> str:
    """Stretches of most bits a weight that take no more bytes than one bit for each weight."""
    limit = operators_bytes([bare(module)], Bits(1, FLOAT_BITS))
    found = [
        (bits / length, length, f"pq:{length}-{bits}")
        for length in _LENGTHS
        for bits in _INDEX
        if size(f"pq:{length}-{bits}", module) <= limit
    ]
    return max(found)[2]


def product_quantised(bench: Bench) -> Figures:
    """Stretches beside two shared values, of no more bytes."""
    own, scalar = bench.form_error(stretched), rounded_error(bench, Bits(1, FLOAT_BITS))
    return {"error": own, "scalar": scalar, "ratio": own / scalar}


def binary_sums(bench: Bench) -> Figures:
    """One to three binary weights that are added."""
    one, two, three = (bench.form_error(f"binary-sum:{count}") for count in (1, 2, 3))
    return {"one": one, "two": two, "three": three, "second": two / one, "third": three / two}


def both(module: Any) -> str:
    """A quarter of the rank, and 5 % of the weights."""
    return f"rank+sparse:{max(1, module.out_channels // 4)}-5"


def rank_alone(module: Any) -> str:
    """As many bytes as both."""
    columns = module.weight[0].numel()
    rank = int(size(both(module), module) // (4 * (module.out_channels + columns)))
    return f"rank-channel:first-{max(1, rank)}"


def sparse_alone(module: Any) -> str:
    """As many bytes as both."""
    limit = size(both(module), module)
    fits = [each for each in range(1, 100) if size(f"unstructured:{each}", module) <= limit]
    return f"unstructured:{max(fits)}"


def rank_and_sparse(bench: Bench) -> Figures:
    """A low rank with few weights beside it, and either alone in as many bytes."""
    own, rank, sparse = (bench.form_error(each) for each in (both, rank_alone, sparse_alone))
    return {
        "error": own,
        "rank": rank,
        "sparse": sparse,
        "over rank": own / rank,
        "over sparse": own / sparse,
    }


ROWS = (
    Row(
        "outliers",
        "forms/outliers",
        "3 bits and 1 % as they are: below 4 bits for all, in fewer bytes (Park 2018)",
        outliers,
        (Check("over w4", at_most=1.0), Check("bytes over w4", at_most=1.0)),
    ),
    Row(
        "pq",
        "forms/pq",
        "at equal bytes below shared values of one bit (Wu 2016)",
        product_quantised,
        (Check("ratio", at_most=1.0),),
    ),
    Row(
        "binary-sum",
        "forms/binary-sum",
        "each binary weight that is added leaves less (ABC-Net)",
        binary_sums,
        (Check("second", at_most=0.6), Check("third", at_most=0.6)),
    ),
    Row(
        "rank+sparse",
        "forms/rank+sparse",
        "at equal bytes below the low rank alone and the few weights alone (Yu 2017)",
        rank_and_sparse,
        (Check("over rank", at_most=1.0), Check("over sparse", at_most=1.0)),
    ),
)
