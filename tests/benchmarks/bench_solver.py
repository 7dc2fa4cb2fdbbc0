"""How long the exact solver takes: 60 layers x 9 choices, and ResNet-50's whole graph.

Run: python tests/benchmarks/bench_solver.py
Sensitivity and prices are drawn or made by a formula; the optimum of the first is checked by a
MILP.
"""

from __future__ import annotations

import time
from statistics import median

import numpy as np
from bench_pricing import FormulaPricer, eighths, resnet50
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp

from automl.cost import Budget, Limit, build_cost_model
from automl.solver.bucket_elimination import Factor
from automl.solver.exact import solve
from automl.solver.lagrangian_dual import minimise
from automl.space import Space, build_space

Floats = NDArray[np.float64]


def sixty_layers(seed: int) -> tuple[Floats, Floats]:
    """Sensitivity and cost [60, 9]: thinner is cheaper and hurts more, with noise on both."""
    generator = np.random.default_rng(seed)
    kept = np.linspace(0.2, 1.0, 9)
    weight = generator.lognormal(0.0, 1.0, (60, 1))
    sensitivity = weight * (1.0 - kept) ** generator.uniform(1.0, 3.0, (60, 1))
    sensitivity = sensitivity * generator.uniform(0.8, 1.2, (60, 9))
    cost = generator.lognormal(0.0, 0.7, (60, 1)) * kept * generator.uniform(0.8, 1.2, (60, 9))
    return sensitivity, cost


def by_milp(sensitivity: Floats, cost: Floats, limit: float) -> tuple[float, float]:
    """The optimum by scipy, and its seconds."""
    started = time.perf_counter()
    solved = milp(
        sensitivity.ravel(),
        constraints=[
            LinearConstraint(
                np.kron(np.eye(len(sensitivity)), np.ones(sensitivity.shape[1])), 1, 1
            ),
            LinearConstraint(cost.ravel()[None], -np.inf, limit),
        ],
        integrality=np.ones(sensitivity.size),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 0.0},
    )
    return float(solved.fun), time.perf_counter() - started


def independent_layers() -> None:
    for share in (0.35, 0.55, 0.75):
        seconds, checked, differ = [], [], []
        for seed in range(10):
            sensitivity, cost = sixty_layers(seed)
            limit = share * float(cost[:, -1].sum())
            parts = [Factor((i,), np.column_stack([sensitivity[i], cost[i]])) for i in range(60)]
            started = time.perf_counter()
            found = minimise([9] * 60, parts, np.array([limit]))
            seconds.append(time.perf_counter() - started)
            assert found is not None
            best, taken = by_milp(sensitivity, cost, limit)
            checked.append(taken)
            differ.append(found.sensitivity - best if found.proven else float("nan"))
        print(
            f"60 x 9, {share:.0%} of the cost, 10 seeds: median {median(seconds):.3f} s, worst"
            f" {max(seconds):.3f} s; MILP {median(checked):.3f} s, worst {max(checked):.3f} s;"
            f" largest sensitivity above the MILP's {max(differ):.1e}"
        )


def drawn_sensitivity(space: Space, seed: int) -> list[Floats]:
    generator = np.random.default_rng(seed)
    sensitivities = []
    for size in space.sizes:
        kept = np.arange(1, size + 1) / size
        sensitivities.append(generator.lognormal() * (1.0 - kept) ** generator.uniform(1.0, 3.0))
    return sensitivities


def whole_network() -> None:
    network = resnet50()
    sixteenths = {group.name: group.channels // 16 for group in network.groups}
    for name, space in (
        ("8", eighths(network)),
        ("16", build_space(network, round_to=sixteenths)),
    ):
        costs = build_cost_model(network, space, FormulaPricer(), counts=16)
        for limits in (("latency",), ("latency", "bytes")):
            seconds, proven, gaps = [], 0, []
            for seed in range(3):
                values = [Limit(each, 0.5 * costs.dense.value(each)) for each in limits]
                started = time.perf_counter()
                found = solve(costs, drawn_sensitivity(space, seed), Budget(tuple(values)))
                seconds.append(time.perf_counter() - started)
                proven += found.proven
                gaps.append((found.sensitivity - found.bound) / found.sensitivity)
            print(
                f"ResNet-50, {name} levels, blocks removable, 50 % of {' and '.join(limits)}:"
                f" median {median(seconds):.2f} s, proven {proven} of 3,"
                f" largest gap {max(gaps):.2%}"
            )


if __name__ == "__main__":
    independent_layers()
    whole_network()
