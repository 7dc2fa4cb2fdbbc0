"""HAQ's problem on our networks: bits for a bit-scalable accelerator, at equal cycles, no training.

ResNet-20 (or -56) on CIFAR-10, each layer 2 to 8 bits for weights and for activations, cycles of
the array that `bitfusion.py` fits to HAQ's simulated table, limited to a share of the w8a8
network's. A search scores candidates (rounded second-order from calibration statistics, activations
rounded as they run, nothing refitted or trained) by how near their logits are to the float
network's on training images that the calibration does not hold. Its best policy is judged once, on
test images. Seeds draw the calibration images, those that are scored, and the agents' randomness.
What a layer's bits do alone is measured on calibration images, as in a search.

    python tests/benchmarks/bench_haq.py --shared ../shared --json haq.jsonl
    python tests/benchmarks/bench_haq.py --json haq.jsonl --table
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from bitfusion import BITS, SHAPE, Array, build_table
from cifar import Cifar, accuracy, load_cifar, load_resnet, normalised

from automl.agents.registry import make_agent
from automl.compression.compressor import Compressor
from automl.compression.config import CompressionConfig
from automl.compression.sensitivity import measure_sensitivity, outputs
from automl.cost import Budget, Limit, build_cost_model
from automl.network.traced_model import trace_network
from automl.policy.policy import Policy
from automl.policy.precisions import Precisions
from automl.space import Space, build_space
from automl.study.problem import Completed, Problem, Trial, read_geometry

TRIALS = 60
#: Images: of the statistics, of a candidate's ranges, scored, of the sensitivity, of the last test.
CALIBRATION, RANGES, SCORED, SENSED, TESTED = 500, 32, 128, 32, 2500


@dataclass(frozen=True, slots=True)
class Entrant:
    """An agent with its options, and how many trials it gets at most."""

    agent: str
    trials: int
    options: dict[str, object]


ENTRANTS = {
    "uniform": Entrant("uniform", 1, {}),
    "lagrangian": Entrant("lagrangian", TRIALS, {}),
    "haq": Entrant("haq", TRIALS, {}),
    "haq, no warm start": Entrant("haq", TRIALS, {"warm_start": False}),
    "random": Entrant("random", TRIALS, {}),
}


class Bench:
    """One network and seed: statistics, sensitivity, and how candidates are scored."""

    def __init__(self, depth: int, data: Cifar, shared: Path, seed: int) -> None:
        drawn = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(seed))
        calibration = normalised(data.train[drawn[:CALIBRATION]])
        self.scored = normalised(data.train[drawn[CALIBRATION : CALIBRATION + SCORED]])
        self.data, self.seed = data, seed
        self.traced = trace_network(load_resnet(shared, depth), SHAPE, resolutions=())
        names = tuple(f"w{w}a{a}" for w in BITS for a in BITS)
        self.precisions = Precisions(names, simulated=True)
        whole = build_space(
            self.traced.network, depth=False, resolutions=(), precisions=self.precisions.bits
        )
        self.space = Space(tuple(v for v in whole.variables if v.kind == "bits"))
        config = CompressionConfig(seed=seed)
        self.compressor = Compressor(self.traced, calibration, {}, config=config)
        self.dense = outputs(self.traced.model, self.scored)
        self.scores: dict[bytes, float] = {}
        self.accuracies: dict[bytes, float] = {}
        self.sensitivity = measure_sensitivity(
            self.compressor.database,
            self.space,
            self.compressor.images[:SENSED],
            rounded=self.compressor.joint,
        )

    def problem(self, array: Array, keep: float) -> Problem:
        """Cycles limited to a share of those at w8a8."""
        network = self.traced.network
        table = build_table([network], array)
        costs = build_cost_model(network, self.space, table, precisions=self.precisions)
        budget = Budget((Limit("latency", keep * costs.dense.latency),))
        geometry = read_geometry(network, self.space)
        return Problem(self.space, costs, budget, self.sensitivity, geometry)

    def score(self, policy: Policy) -> float:
        """Minus the squared error of the logits, relative to their variance."""
        key = self.space.encode(policy).tobytes()
        if key not in self.scores:
            plan, ranges = self.compressor.plan(policy), self.compressor.images[:RANGES]
            model = self.compressor.joint.candidate(policy, plan, {}, ranges)
            apart = outputs(model, self.scored) - self.dense
            self.scores[key] = -float(apart.square().mean() / self.dense.var(0).mean())
        return self.scores[key]

    def tested(self, policy: Policy) -> float:
        """Percent of the test images whose class is found."""
        key = self.space.encode(policy).tobytes()
        if key not in self.accuracies:
            model = self.compressor.make(policy, finish=False)
            test, labels = self.data.test[:TESTED], self.data.test_labels[:TESTED]
            self.accuracies[key] = accuracy(model, test, labels)
        return self.accuracies[key]


def search(bench: Bench, problem: Problem, entrant: Entrant) -> tuple[Policy, float, int]:
    """The best policy of an agent, its score, and how many trials it took."""
    agent = make_agent(entrant.agent, problem, bench.seed, **entrant.options)
    done: list[Trial] = []
    while len(done) < entrant.trials:
        policies = agent.ask(min(4, entrant.trials - len(done)))
        if not policies:
            break
        told = [
            Completed(len(done) + i, each, problem.costs.cost(each), 0.0, bench.score(each))
            for i, each in enumerate(policies)
        ]
        agent.tell(told)
        done += told
    best = max(done, key=lambda trial: bench.score(trial.policy))
    return best.policy, bench.score(best.policy), len(done)


def run(options: argparse.Namespace) -> None:
    """Everything that the file does not hold yet, appended as it is found."""
    torch.set_num_threads(1)
    data = load_cifar(options.shared)
    known = {tuple(row[:5]) for row in read(options.json)}
    for seed in options.seeds:
        bench: Bench | None = None
        for columns in options.columns:
            for keep in options.keep:
                for name, entrant in ENTRANTS.items():
                    cell = (options.depth, columns, keep, seed, name)
                    if cell in known:
                        continue
                    bench = bench or Bench(options.depth, data, options.shared, seed)
                    problem = bench.problem(Array(columns=columns), keep)
                    policy, score, trials = search(bench, problem, entrant)
                    cost = problem.costs.cost(policy).latency / problem.costs.dense.latency
                    row = (*cell, cost, score, trials, bench.tested(policy))
                    print(*row, flush=True)
                    with options.json.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(row) + "\n")


def read(path: Path) -> list[list[Any]]:
    """What was found so far."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def table(path: Path) -> None:
    """Markdown: mean and standard deviation over seeds."""
    cells: dict[tuple[Any, ...], list[list[Any]]] = defaultdict(list)
    for depth, columns, keep, _, name, *rest in read(path):
        cells[depth, columns, keep, name].append(rest)
    print("| network | columns | cycles | agent | used | trials | logit error | test accuracy |")
    print("|---|---|---|---|---|---|---|---|")
    places = list(ENTRANTS)
    for key in sorted(cells, key=lambda key: (*key[:3], places.index(key[3]))):
        (depth, columns, keep, name), rows = key, cells[key]
        costs, scores, trials, found = zip(*rows, strict=True)
        print(
            f"| ResNet-{depth} | {columns} | {keep:.0%} | {name} | {mean(costs):.1%} |"
            f" {mean(trials):.0f} | {-mean(scores):.4f} {_spread(scores, 4)} |"
            f" {mean(found):.2f} {_spread(found, 2)} |"
        )


def _spread(values: tuple[float, ...], digits: int) -> str:
    return f"± {stdev(values):.{digits}f} ({len(values)})" if len(values) > 1 else "(1)"


def main() -> None:
    """Run what is missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--columns", type=int, nargs="+", default=[256, 64])
    parser.add_argument("--keep", type=float, nargs="+", default=[0.4, 0.6])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        table(options.json)
    else:
        run(options)


if __name__ == "__main__":
    main()
