"""Adaptive measuring against measuring everything: operators, seconds, errors, what is found.

Each network's operators are measured whole, once; then a search's measuring is replayed on those
rows. Printed are: operators and seconds of both; mean error of random policies' latencies where the
search begins, by the prices of all rows; and for budgets of 70, 50 and 35 % and a sensitivity that
is drawn, what is lost in sensitivity against the exact solution by all rows, and the latency that
the policy has by them as a share of the budget.

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_adaptive.py --rows build/rows [--networks unet]

Rows that are in the folder are not measured again. A board that is ten times slower takes as many
operators, and ten times as long for each.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from latency_networks import NETWORKS, build

from automl.cost import CostModel, build_cost_model, operators_of, required_keys, resolve_budget
from automl.latency import (
    GaussianPricer,
    LatencyTable,
    LoweredPricer,
    OpKey,
    Pricer,
    Timings,
    find_table,
    most_telling,
)
from automl.network import TracedModel, trace_network
from automl.pipeline.networks import fitting_vectors
from automl.pipeline.pricing import FEWEST_MORE, FIRST_SHARE, FIRST_UNCERTAINTY
from automl.policy import FP32
from automl.profiling import LocalRunner, profile
from automl.solver import solve
from automl.space import Space, SpaceSettings, open_space
from automl.units import parse_budget

BUDGETS: Final = ("70%", "50%", "35%")
ROUNDS: Final = 12
POLICIES: Final = 400


class Replay:
    """A network whose rows are known, of which only some count as measured."""

    def __init__(self, name: str, table: LatencyTable) -> None:
        self.traced: TracedModel = trace_network(build(name), NETWORKS[name].shape)
        self.space: Space = open_space(self.traced.network, SpaceSettings(round_to=8, depth=True))
        self.keys = required_keys(self.traced.network, self.space)
        self._rows = {row.key: (row.seconds, row.spread) for row in table.rows}
        self.truth = self.costs(_Known(self._rows))

    def costs(self, pricer: Pricer) -> CostModel:
        """Prices of the space."""
        return build_cost_model(self.traced.network, self.space, pricer, allow_missing=True)

    def known(self, keys: Iterable[OpKey]) -> dict[OpKey, tuple[float, float]]:
        """Rows of operators; those that were not measured at all are between measured ones."""
        return {key: self._rows[key] for key in keys if key in self._rows}

    def operators(self, vectors: Iterable[np.ndarray]) -> list[OpKey]:
        """Operators of policies, each once."""
        found = (
            key
            for vector in vectors
            for key in operators_of(self.traced.network, self.space.decode(vector), FP32)
        )
        return list(self.known(found))

    def first(self) -> dict[OpKey, tuple[float, float]]:
        """What a search measures before it begins."""
        fitting = self.operators(fitting_vectors(self.space, 0))
        wanted = list(self.known(self.keys))
        most = max(int(FIRST_SHARE * len(wanted)) - len(fitting), FEWEST_MORE)
        return self.known([*fitting, *most_telling(wanted, fitting, most, FIRST_UNCERTAINTY)])

    def error(self, rows: Mapping[OpKey, tuple[float, float]]) -> float:
        """Mean relative error of random policies' latencies."""
        vectors = self.space.random(POLICIES, np.random.default_rng(1))
        found = self.costs(GaussianPricer(rows)).price(vectors)[:, 0]
        return float(np.abs(found / self.truth.price(vectors)[:, 0] - 1.0).mean())

    def search(
        self, rows: Mapping[OpKey, tuple[float, float]], text: str
    ) -> tuple[int, float, float]:
        """Operators that were measured, sensitivity lost, and share of the budget that is used."""
        budget = resolve_budget([parse_budget(text)], self.truth.dense, (0, 0), "seconds")
        sensitivity = drawn_sensitivity(self.space)
        best = solve(self.truth, sensitivity, budget)
        have = dict(rows)
        for _ in range(ROUNDS):
            expected = GaussianPricer(have)
            found = [
                solve(self.costs(pricer), sensitivity, budget)
                for pricer in (expected, LoweredPricer(expected))
            ]
            wanted = self.known(self.operators(each.vector for each in found))
            if wanted.keys() <= have.keys():
                break
            have |= wanted
        lost = sum(row[i] for row, i in zip(sensitivity, found[0].vector, strict=True))
        took = float(self.truth.price(found[0].vector[None])[0, 0])
        return len(have), lost / best.sensitivity - 1.0, took / budget.limits[0].value


class _Known:
    """Rows, and nothing else."""

    def __init__(self, rows: Mapping[OpKey, tuple[float, float]]) -> None:
        self._rows = rows

    def lookup(self, keys: Sequence[OpKey]) -> Timings:
        """NaN where there is no row."""
        found = np.array([self._rows.get(key, (np.nan, np.nan)) for key in keys])
        return Timings(found[:, 0], found[:, 1], np.zeros(len(keys), dtype=np.int8))


def drawn_sensitivity(space: Space) -> list[np.ndarray]:
    """Sensitivities that fall to nothing at the dense option, the same for each pricing."""
    generator = np.random.default_rng(1)
    found = []
    for variable in space.variables:
        steps = generator.exponential(1.0, len(variable.options) - 1) * np.linspace(
            2.0, 0.5, len(variable.options) - 1
        )
        weight = 3.0 if variable.kind == "resolution" else 1.0
        found.append(weight * np.concatenate([[0.0], np.cumsum(steps[::-1])])[::-1])
    return found


def measured_table(name: str, folder: Path, seconds: float) -> LatencyTable:
    """All operators of a network, measured where the folder has no row of them."""
    folder.mkdir(parents=True, exist_ok=True)
    header = find_table("cpu", threads=1).header.model_copy(update={"name": name})
    table = LatencyTable.read_or_create(folder / f"{name}.jsonl", header)
    traced = trace_network(build(name), NETWORKS[name].shape)
    space = open_space(traced.network, SpaceSettings(round_to=8, depth=True))
    missing = table.lacks(required_keys(traced.network, space))
    if missing and seconds:
        with LocalRunner(threads=1) as runner:
            report = profile(table, missing, runner, seconds_cap=seconds)
        print(f"{name}: {report.measured} operators in {report.seconds:.0f} s", flush=True)
    return table


def main() -> None:
    """One block a network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=sorted(NETWORKS), choices=NETWORKS)
    parser.add_argument("--rows", type=Path, default=Path("build/rows"))
    parser.add_argument("--seconds", type=float, default=600.0, help="For one network, 0: none.")
    options = parser.parse_args()
    for name in options.networks:
        replay = Replay(name, measured_table(name, options.rows, options.seconds))
        rows = replay.first()
        print(
            f"{name}: {len(replay.keys)} operators, {len(rows)} at first "
            f"({100 * len(rows) / len(replay.keys):.0f} %), random policies off by "
            f"{100 * replay.error(rows):.1f} %",
            flush=True,
        )
        for text in BUDGETS:
            count, lost, used = replay.search(rows, text)
            print(
                f"    {text}: {count} operators ({100 * count / len(replay.keys):.0f} %), "
                f"sensitivity {100 * lost:+.1f} %, {100 * used:.1f} % of the budget",
                flush=True,
            )


if __name__ == "__main__":
    main()
