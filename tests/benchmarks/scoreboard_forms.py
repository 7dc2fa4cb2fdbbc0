"""Rows of the scoreboard: low rank, fewer taps, separable, and searches that may choose them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from bench_plain import search
from scored import Bench, Check, Figures, Row

USUAL = "channels,blocks,resolution"


def rank(share: float, form: str) -> Callable[[Any], str]:
    """The form at a share of a layer's channels."""

    def option(module: Any) -> str:
        return f"{form}:{max(1, round(share * min(module.in_channels, module.out_channels)))}"

    return option


def against_plain(bench: Bench, share: float) -> Figures:
    """Spatial low rank in the metric of what layers read, over that of the weights alone."""
    aware = bench.form_error(rank(share, "rank-spatial"))
    plain = bench.form_error(rank(share, "rank-spatial-plain"))
    return {"error": aware, "plain": plain, "ratio": aware / plain}


def searched(bench: Bench, budget: str) -> Figures:
    """Test accuracy of the plain command with forms and without, at a share of the latency."""
    figures = {}
    for name, choices in (("without", USUAL), ("with", f"{USUAL},rank,taps,separable")):
        flags = ["--precisions", "float", "--choices", choices]
        found = search(bench.network, "cpu", budget, bench.seed, flags)
        figures |= {name: found["accuracy"], f"seconds_{name}": found["cpu_seconds"]}
    return figures | {
        "gain": figures["with"] - figures["without"],
        "drop": found["dense"] - figures["with"],
        "times": figures["seconds_with"] / figures["seconds_without"],
    }


ROWS = (
    *(
        Row(
            f"rank-spatial-{words}",
            "forms/rank-spatial",
            f"{words} of the channels: at most 0.75 of the plain SVD's error (Denton 2014)",
            partial(against_plain, share=share),
            (Check("ratio", at_most=0.75),),
        )
        for words, share in (("half", 0.5), ("quarter", 0.25))
    ),
    *(
        Row(
            f"search-forms-{share}",
            "kinds/form",
            f"{share} % of the measured latency: 1.0 point above the same search without forms",
            partial(searched, budget=f"{share}%"),
            (Check("gain", at_least=1.0),),
            ("resnet20", "resnet56"),
        )
        for share in (50, 35)
    ),
    Row(
        "search-forms-macs",
        "kinds/form",
        "50 % of the MACs: a drop of at most 1.0, in at most twice the time without forms",
        partial(searched, budget="50%MACs"),
        (Check("drop", at_most=1.0), Check("times", at_most=2.0)),
        ("resnet56",),
    ),
)
