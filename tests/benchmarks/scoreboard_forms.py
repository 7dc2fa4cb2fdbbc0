"""Rows of the scoreboard: low rank, fewer taps, separable, and searches that may choose them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from math import log
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from bench_latency_search import subject_of
from bench_plain import search
from cifar import SHARED, load_cifar
from scored import Bench, Check, Figures, Row

from automl.compression import CompressionConfig
from automl.cost import Budget
from automl.pipeline import SearchRequest
from automl.pipeline.context import price_request
from automl.pipeline.measure_loop import MeasureLoop
from automl.pipeline.networks import timed_onnx
from automl.pipeline.pricing import measure_here
from automl.pipeline.requests import ignore
from automl.policy import Policy
from automl.study import Completed

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


def added(bench: Bench) -> Figures:
    """What a form and fewer channels read do together, over the sum of what each does alone.

    One inner group of every second block at a half and a quarter, three forms of what reads it.
    """
    groups = [group for group in bench.traced.network.groups if group.name.endswith(".conv1")][::2]
    counts = {group.name: (group.channels // 4, group.channels // 2) for group in groups}
    maker = bench.compressor_of(CompressionConfig(), counts)

    def lost(policy: Policy) -> float:
        return bench.error(maker.make(policy, finish=False))

    ratios = []
    for group, shares in counts.items():
        layer, whole = f"{group.removesuffix('1')}2", 4 * shares[0]
        cut = {count: lost(Policy({group: count})) for count in shares}
        for text in (f"rank-spatial:{whole // 2}", f"rank-spatial:{whole // 4}", "separable:1"):
            form = {"form": {layer: text}}
            alone = lost(Policy(further=form))
            for count in shares:
                both = lost(Policy({group: count}, further=form))
                ratios.append(both / (alone + cut[count]))
    return {"median": median(ratios), "off": mean(abs(log(each)) for each in ratios)}


def with_bits(bench: Bench, target: str, budget: str) -> Figures:
    """Test accuracy with bits, and with bits and the forms that pay, at a share of a latency."""
    figures = {}
    for name, choices in (("bits", f"{USUAL},bits"), ("both", f"{USUAL},bits,forms")):
        found = search(bench.network, target, budget, bench.seed, ["--choices", choices])
        figures |= {name: found["accuracy"], f"seconds_{name}": found["cpu_seconds"]}
    return figures | {"gain": figures["both"] - figures["bits"]}


def predicted(bench: Bench, choices: str, count: int = 20) -> Figures:
    """Relative error of predicted latencies of random policies, against the clock here.

    Their operators are measured before, as those of what a search finds are.
    """
    with TemporaryDirectory() as folder, ExitStack() as stack:
        request = SearchRequest(
            task=subject_of(load_cifar(SHARED), bench.model(), bench.seed),
            target="cpu",
            budget=("50%",),
            out=Path(folder),
            seed=bench.seed,
            choices=choices,
        )
        network = price_request(request, ignore)
        vectors = network.space.random(count, np.random.default_rng(bench.seed))
        policies = [network.space.decode(vector) for vector in vectors]
        loop = MeasureLoop(request, ignore, stack)
        for number, policy in enumerate(policies):
            trial = Completed(number, policy, network.costs.cost(policy), 0.0, 0.0)
            network, _ = loop.confirm(network, Budget(()), [trial])
    files = {
        str(number): timed_onnx(network.traced, policy, network.table.header)
        for number, policy in enumerate(policies)
    }
    seconds = measure_here(files, 1, 60.0)
    told = [network.costs.cost(policy).latency for policy in policies]
    off = [abs(each / seconds[str(number)] - 1) for number, each in enumerate(told)]
    return {"error": mean(off), "worst": max(off)}


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
    Row(
        "forms-and-channels",
        "kinds/form",
        "a form and fewer channels of one layer lose what the sum of both says, within a fifth",
        added,
        (Check("median", at_least=0.9, at_most=1.1), Check("off", at_most=0.2)),
        seeds=(0,),
    ),
    Row(
        "search-forms-bits",
        "kinds/form",
        "25 % of the fitted latency of a Raspberry Pi 4 that computes INT8: not below bits alone",
        partial(with_bits, target="rpi4-1t", budget="25%"),
        (Check("gain", at_least=0.0),),
    ),
    *(
        Row(
            f"predicted-{words}",
            "kinds/form",
            "20 random policies on a quiet machine: predicted within 5 % of the clock",
            partial(predicted, choices=choices),
            (Check("error", at_most=0.05),),
            seeds=(0,),
        )
        for words, choices in (
            ("forms", f"{USUAL},forms"),
            ("forms-bits", f"{USUAL},bits,forms"),
        )
    ),
)
