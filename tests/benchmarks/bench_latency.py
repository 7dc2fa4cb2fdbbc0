"""Sums of operator timings against whole networks, measured on this machine.

    python tests/benchmarks/bench_latency.py [--policies 20] [--json out.json]

Every family is measured dense and randomly thinned, operators first, then all networks
interleaved. `raw` compares the plain sum, `fitted` the sum with an overhead that was fitted
without the network in question, `other` with an overhead fitted on the other families.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from latency_networks import FAMILIES, BuiltNetwork, Thinning, family, resnet56
from scipy.stats import spearmanr

from automl.latency.table import LatencyTable
from automl.latency.targets import cpu_table
from automl.profiling.device import conditions, others_load
from automl.profiling.overhead import fit_overhead, network_seconds
from automl.profiling.profile import measure_models, profile
from automl.profiling.runner import LocalRunner


def main() -> None:
    """Measure, print a table, and write JSON when asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--policies", type=int, default=20, help="random networks per family")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--eights", type=float, default=0.25, help="share in multiples of 8")
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="for whole networks, each family"
    )
    parser.add_argument("--user-table", action="store_true", help="keep rows in the user's table")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    groups = {
        kind: family(kind, arguments.policies, arguments.seed, arguments.eights)
        for kind in arguments.families
    }
    if "resnet56" in groups:
        groups["resnet56"].append(
            resnet56("resnet56 one channel less", Thinning(), lambda width: width - 1)
        )
    print(f"{conditions()}; others keep {others_load(0.5):.1f} cores busy")
    with tempfile.TemporaryDirectory() as folder, LocalRunner() as runner:
        table = cpu_table()
        if not arguments.user_table:
            table = LatencyTable.create(Path(folder) / "bench.jsonl", table.header)
        found = {}
        for kind, networks in groups.items():
            found[kind] = measure_family(networks, table, runner, arguments.seconds)
    summary = report(groups, found)
    if arguments.json:
        arguments.json.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")


def measure_family(
    networks: list[BuiltNetwork], table: LatencyTable, runner: LocalRunner, seconds: float
) -> dict[str, np.ndarray]:
    """Sums, operator counts and measured seconds of a family's networks."""
    keys = [key for network in networks for key in network.keys]
    told = profile(table, keys, runner)
    start = time.monotonic()
    timings = measure_models({n.name: n.model for n in networks}, runner, seconds_cap=seconds)
    spreads = [row.spread for row in table.rows]
    print(
        f"{networks[0].name.split()[0]}: {told.measured} operators in {told.seconds:.1f} s"
        f" (median spread {np.median(spreads):.3f}, {told.doubtful} doubtful, others took"
        f" {told.stolen:.0%} of the core at worst), {len(networks)} networks in"
        f" {time.monotonic() - start:.1f} s (others took {runner.stolen:.0%})"
    )
    return {
        "sums": np.array([table.lookup(n.keys).seconds.sum() for n in networks]),
        "operators": np.array([len(n.keys) for n in networks]),
        "measured": np.array([timings[n.name].seconds for n in networks]),
    }


def report(
    groups: dict[str, list[BuiltNetwork]], found: dict[str, dict[str, np.ndarray]]
) -> dict[str, object]:
    """Print both tables; the figures as JSON values."""
    summary: dict[str, object] = {"conditions": str(conditions()), "families": {}}
    print(f"\n{'network':32s} operators  sum ms  measured ms  ratio")
    for kind, networks in groups.items():
        values = found[kind]
        for network, total, measured in zip(
            networks, values["sums"], values["measured"], strict=True
        ):
            print(
                f"{network.name:32s} {len(network.keys):9d} {total * 1e3:7.3f}"
                f" {measured * 1e3:12.3f} {total / measured:6.3f}"
            )
    print("\nfamily       networks  raw error  fitted  other  rank correlation")
    for kind in groups:
        figures = errors(kind, found)
        summary["families"][kind] = figures  # type: ignore[index]
        print(
            f"{kind:12s} {figures['networks']:8d} {figures['raw']:9.1%} {figures['fitted']:7.1%}"
            f" {figures['other']:6.1%} {figures['rank_correlation']:12.3f}"
        )
    return summary


def errors(kind: str, found: dict[str, dict[str, np.ndarray]]) -> dict[str, float]:
    """Mean absolute relative errors of a family, and the rank correlation."""
    own = found[kind]
    rest = [values for name, values in found.items() if name != kind]
    other = float("nan")
    if rest:
        joined = {name: np.concatenate([values[name] for values in rest]) for name in own}
        overhead = fit_overhead(joined["sums"], joined["operators"], joined["measured"])
        guesses = np.array(
            [
                network_seconds(overhead, total, count)
                for total, count in zip(own["sums"], own["operators"], strict=True)
            ]
        )
        other = float(np.mean(np.abs(guesses / own["measured"] - 1.0)))
    return {
        "networks": len(own["sums"]),
        "raw": float(np.mean(np.abs(own["sums"] / own["measured"] - 1.0))),
        "fitted": fit_overhead(own["sums"], own["operators"], own["measured"]).error,
        "other": other,
        "rank_correlation": float(spearmanr(own["sums"], own["measured"]).statistic),
    }


if __name__ == "__main__":
    sys.exit(main())
