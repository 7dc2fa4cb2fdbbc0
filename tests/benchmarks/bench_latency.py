"""Sums of measured operators against whole networks, ten of them, on this machine.

    python tests/benchmarks/bench_latency.py [--networks vgg unet] [--policies 12] [--svg out.svg]

Each network is read as a search reads it. The dense one and random policies of it (widths in the
granularity that is learned here, blocks left out) are priced by the sum of their operators,
every one of them measured, and then run whole, interleaved. `sum` is the plain sum's mean
absolute error; `fitted` that of the sum with an overhead, each network left out of the fit that
predicts it; `others` with an overhead fitted on the other structures alone.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from latency_networks import NETWORKS, build
from scipy.stats import spearmanr

from automl.export.onnx import onnx_bytes
from automl.latency.keys import OpKey, op_key
from automl.latency.table import LatencyTable
from automl.latency.targets import cpu_table
from automl.network.traced_model import TracedModel, trace_network
from automl.pipeline.granularity import learn_granularity, probe_keys
from automl.pipeline.networks import network_of
from automl.policy.policy import Policy
from automl.profiling.device import conditions, others_load
from automl.profiling.measuring import measure_models, profile
from automl.profiling.overhead import Sums, fit_overhead, held_out_seconds, network_seconds
from automl.profiling.runner import LocalRunner, Runner
from automl.space import build_space

PRECISION = "fp32"
COLOURS = (
    *("#1d4ed8", "#c2410c", "#15803d", "#7e22ce", "#b91c1c"),
    *("#0e7490", "#a16207", "#be185d", "#4d7c0f", "#475569"),
)


@dataclass(frozen=True, slots=True)
class Found:
    """What one network and its policies came to, the dense one first; times in seconds.

    Attributes:
        sums, predicted, measured: Of each policy: its operators added up, with an overhead fitted
            on the others, and the whole network run.
        operators: How many operators each policy has.
        macs: Multiply-accumulates of each.
        keys: Different operators that had to be measured.
        doubtful: Of them, those measured while the machine was slower than at first.
        stolen: Largest share of the time in which others took the core.
    """

    sums: list[float]
    predicted: list[float]
    measured: list[float]
    operators: list[int]
    macs: list[int]
    keys: int
    doubtful: int
    stolen: float


def main() -> None:
    """Measure, print a line a network, draw and write JSON when asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--policies", type=int, default=12, help="random ones of each network")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="for the whole networks of each structure"
    )
    parser.add_argument("--user-table", action="store_true", help="keep rows in the user's table")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--svg", type=Path, help="draw predicted over measured")
    options = parser.parse_args()
    if options.policies < 3:
        parser.error("--policies: a fit takes at least 3")
    state = f"{conditions()}; others keep {others_load(0.5):.1f} cores busy"
    print(state, flush=True)
    found: dict[str, Found] = {}
    with tempfile.TemporaryDirectory() as folder, LocalRunner() as runner:
        if not options.user_table:
            os.environ["AUTOML_HOME"] = folder
        table = cpu_table()
        for name in options.networks:
            found[name] = measure(
                name, table, runner, options.policies, options.seed, options.seconds
            )
    metrics = {name: errors(name, found) for name in found}
    report(found, metrics)
    if options.svg:
        options.svg.write_text(scatter(found), encoding="utf-8")
    if options.json:
        networks = {name: metrics[name] | asdict(one) for name, one in found.items()}
        content = {"conditions": state, "seed": options.seed, "networks": networks}
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def measure(
    name: str, table: LatencyTable, runner: Runner, count: int, seed: int, seconds: float
) -> Found:
    """Operators first, then the whole networks."""
    start = time.monotonic()
    traced = trace_network(build(name, seed), NETWORKS[name].shape, resolutions=())
    probes = probe_keys(traced.network, PRECISION)
    reports = [profile(table, probes, runner)]
    policies = draw(traced, table, count, seed)
    layers = [traced.network.shapes(policy.channels, policy.removed) for policy in policies]
    keys: list[list[OpKey]] = [[op_key(layer, PRECISION) for layer in each] for each in layers]
    wanted = list(dict.fromkeys(key for each in keys for key in each))
    reports.append(profile(table, wanted, runner))
    refused = {**reports[0].refused, **reports[1].refused}
    if gone := [f"{key}: {refused.get(key, 'no row')}" for key in table.lacks(wanted)]:
        raise SystemExit(f"{name}: a sum with holes is no latency; not measured: {gone}")
    middle = time.monotonic()
    models = {
        str(number): onnx_bytes(*network_of(traced, policy))
        for number, policy in enumerate(policies)
    }
    times = measure_models(models, runner, seconds_cap=seconds)
    measured = [timing.seconds for timing in times.values()]
    sums = [float(table.lookup(each).seconds.sum()) for each in keys]
    operators = [len(each) for each in keys]
    print(
        f"{name}: {sum(r.measured for r in reports)} operators in {middle - start:.0f} s,"
        f" {len(policies)} networks in {time.monotonic() - middle:.0f} s",
        flush=True,
    )
    return Found(
        sums=sums,
        predicted=held_out_seconds(Sums(np.array(sums)), operators, measured),
        measured=measured,
        operators=operators,
        macs=[sum(layer.macs for layer in each) for each in layers],
        keys=len(wanted),
        doubtful=sum(r.doubtful for r in reports),
        stolen=max(runner.stolen, *(r.stolen for r in reports)),
    )


def draw(traced: TracedModel, table: LatencyTable, count: int, seed: int) -> list[Policy]:
    """The dense policy and `count` random ones of the space that a search here would have."""
    steps = learn_granularity(traced.network, table, PRECISION)
    space = build_space(traced.network, round_to=steps)
    vectors = space.random(count, np.random.default_rng(seed))
    return [space.decode(vector) for vector in (space.dense, *vectors)]


def errors(name: str, found: Mapping[str, Found]) -> dict[str, float | None]:
    """Mean absolute relative errors of a network's policies, and rank correlations."""
    own = found[name]
    rest = [one for other, one in found.items() if other != name]
    return {
        "sum_error": relative_error(own.sums, own.measured),
        "fitted_error": relative_error(own.predicted, own.measured),
        "others_error": relative_error(from_others(own, rest), own.measured) if rest else None,
        "rank_correlation": float(spearmanr(own.sums, own.measured).statistic),
        "macs_rank_correlation": float(spearmanr(own.macs, own.measured).statistic),
    }


def from_others(own: Found, rest: list[Found]) -> list[float]:
    """Seconds of a network's policies with an overhead fitted on other networks."""
    overhead = fit_overhead(
        Sums(np.array([value for one in rest for value in one.sums])),
        [value for one in rest for value in one.operators],
        [value for one in rest for value in one.measured],
    )
    pairs = zip(own.sums, own.operators, strict=True)
    return [network_seconds(overhead, total, count) for total, count in pairs]


def relative_error(predicted: list[float], measured: list[float]) -> float:
    """Mean absolute relative error."""
    return float(np.mean(np.abs(np.array(predicted) / np.array(measured) - 1.0)))


def report(found: Mapping[str, Found], metrics: Mapping[str, dict[str, float | None]]) -> None:
    """One line a network, then the means."""
    print(
        f"\n{'network':12s}{'dense ms':>9}{'operators':>10}{'different':>10}{'doubtful':>9}"
        f"{'sum':>8}{'fitted':>8}{'others':>8}{'rank':>7}{'rank of MACs':>14}"
    )
    for name, one in found.items():
        print(
            f"{name:12s}{one.measured[0] * 1e3:9.2f}{one.operators[0]:10d}{one.keys:10d}"
            f"{one.doubtful:9d}{_cells(metrics[name])}"
        )
    means = {
        key: float(np.mean([one[key] for one in metrics.values()]))
        for key, value in next(iter(metrics.values())).items()
        if value is not None
    }
    print(f"{'mean':50s}{_cells(means)}")


def _cells(row: Mapping[str, float | None]) -> str:
    shares = (row.get(key) for key in ("sum_error", "fitted_error", "others_error"))
    text = "".join(f"{'-' if share is None else f'{share:.1%}':>8}" for share in shares)
    return f"{text}{row['rank_correlation']:7.3f}{row['macs_rank_correlation']:14.3f}"


def scatter(found: Mapping[str, Found]) -> str:
    """Held-out predictions over measured times on logarithmic axes, a colour a network, as SVG."""
    side, margin = 420, 46
    values = np.array([[*one.predicted, *one.measured] for one in found.values()]).ravel() * 1e3
    low, high = np.log10(values.min()) - 0.03, np.log10(values.max()) + 0.03

    def place(milliseconds: float) -> float:
        return float((np.log10(milliseconds) - low) / (high - low) * side)

    bottom, right = margin + side, margin + side
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {right + 120} {bottom + margin}"'
        ' font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<rect x="{margin}" y="{margin}" width="{side}" height="{side}" fill="none"'
        ' stroke="#888"/>',
        f'<path d="M{margin} {bottom}L{right} {margin}" stroke="#bbb"/>',
        f'<text x="{margin}" y="{margin - 12}">predicted from the operators, each network left out'
        " of the fit, over measured: ms</text>",
    ]
    for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50):
        if low < np.log10(tick) < high:
            x, y = margin + place(tick), bottom - place(tick)
            parts.append(
                f'<text x="{x:.0f}" y="{bottom + 16}" text-anchor="middle">{tick:g}</text>'
            )
            parts.append(
                f'<text x="{margin - 6}" y="{y + 4:.0f}" text-anchor="end">{tick:g}</text>'
            )
    for row, (name, one) in enumerate(found.items()):
        colour = COLOURS[row]
        dots = "".join(
            f'<circle cx="{margin + place(truth * 1e3):.1f}"'
            f' cy="{bottom - place(guess * 1e3):.1f}" r="3"/>'
            for guess, truth in zip(one.predicted, one.measured, strict=True)
        )
        parts.append(f'<g fill="{colour}" fill-opacity="0.6">{dots}</g>')
        parts.append(
            f'<text x="{right + 10}" y="{margin + 18 * row + 12}" fill="{colour}">{name}</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
