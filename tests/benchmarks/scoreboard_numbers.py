"""Rows of the scoreboard: how numbers are rounded, stored and made good."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from scored import USUAL, Bench, Check, Figures, Row

from automl.compression import RefitSettings
from automl.pipeline.writing import save_packed
from automl.policy import Bits, Policy

#: Of a network that is delivered, on so much of the calibration images.
SETTINGS = RefitSettings(images=512, rows=12_000)


def learned_rounding(bench: Bench, weights: int) -> Figures:
    """Second-order rounding alone, with least squares, and with each block's rounding learned."""
    names = bench.compressor.joint.flow.layers
    policy = Policy(bits=dict.fromkeys(names, Bits(weights, 8)))
    made = {
        "second_order": bench.compressor.make(policy, settings=replace(SETTINGS, rounds=0)),
        "least_squares": bench.compressor.make(policy, settings=SETTINGS),
        "learned": bench.compressor_of(replace(USUAL, reconstruction="block-rounding")).make(
            policy, settings=SETTINGS
        ),
    }
    errors = {name: bench.error(model) for name, model in made.items()}
    return errors | {
        "ratio": errors["learned"] / errors["second_order"],
        "to_least_squares": errors["learned"] / errors["least_squares"],
    }


def deep_compression(bench: Bench, option: str) -> Figures:
    """Share of the fp32 bytes that a Huffman-coded file takes, and the drop in test accuracy."""
    names = bench.compressor.joint.flow.layers
    policy = Policy(further={"form": dict.fromkeys(names, f"clustered:{option}")})
    made = bench.compressor.make(policy, settings=SETTINGS)
    dense = bench.traced.model
    with TemporaryDirectory() as folder:
        size = save_packed(made, Path(folder) / "weights.bin", huffman=True)
    whole = 4 * sum(each.numel() for each in dense.parameters())
    return {
        "bytes": size,
        "share": size / whole,
        "error": bench.error(made),
        "drop": bench.accuracy(dense) - bench.accuracy(made),
    }


def powers(bench: Bench) -> Figures:
    """Powers of two in 3 and 4 bits, in the metric of what is read and without it."""
    return {
        "w3": bench.form_error("pow2:3"),
        "w4": bench.form_error("pow2:4"),
        "w4_blind": bench.form_error("pow2:4", moments=False),
    }


ROWS = (
    Row(
        "pow2",
        "forms/pow2",
        "INQ's grid: nearer with more bits, and below rounding to the nearest power",
        powers,
        (Check("w4", at_most=0.01),),
        seeds=(0,),
    ),
    Row(
        "deep-compression",
        "forms/clustered",
        "packed file at most a tenth of fp32, at a drop of at most 1.0 (Han 2016 trains)",
        partial(deep_compression, option="50-4"),
        (Check("share", at_most=0.1), Check("drop", at_most=1.0)),
        ("resnet20", "resnet56"),
        (0,),
    ),
    *(
        Row(
            f"block-rounding-w{weights}a8",
            "reconstructions/block-rounding",
            "below second-order rounding alone (GPTQ-like), and no worse than with least squares",
            partial(learned_rounding, weights=weights),
            (Check("ratio", at_most=0.9), Check("to_least_squares", at_most=1.02)),
        )
        for weights in (4, 3)
    ),
)
