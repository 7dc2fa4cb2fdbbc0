"""Rows of the scoreboard: how numbers are rounded, stored and made good."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from scored import USUAL, Bench, Check, Figures, Row

from automl.compression import RefitSettings
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


ROWS = (
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
