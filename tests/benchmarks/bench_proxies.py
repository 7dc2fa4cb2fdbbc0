"""Do proxies rank candidates as a recovery after them does?

ResNet-20 on CIFAR-10 at half of its MACs: policies that solve the additive problem under perturbed
sensitivity, and random ones that fill the budget. The truth of a policy is the delivered network's
accuracy on all 10,000 test images after 200 steps of `kd` on training images, mirrored and shifted.
Proxies see 2,000 training images to calibrate on and 1,000 others to score on, as a search does.

    python tests/benchmarks/bench_proxies.py --truth            # one policy more a call
    python tests/benchmarks/bench_proxies.py --proxy refit      # all policies, by one proxy
    python tests/benchmarks/bench_proxies.py --table

Rows are appended to build/proxies/rows.jsonl; what is there is not found again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from bench_recovery import shifted
from cifar import SHARED, accuracy, load_cifar, load_resnet, normalised
from scipy.stats import kendalltau, spearmanr

import automl
from automl.agents import make_agent
from automl.policy import Policy
from automl.recovery import Objective, RecoveryData, RecoveryRecipe, recover
from automl.solver import solve

Tensor = torch.Tensor
Row = dict[str, Any]  # of the file of results
CALIBRATION, HELD_BACK, BATCH = 2000, 1000, 125
#: Of the truth's recovery.
STEPS: Final = 200
#: Options of a search, by what they are called here.
PROXIES: Final[dict[str, dict[str, str]]] = {
    "refit": {},
    "adaptive-bn": {"proxy": "adaptive-bn"},
    "20 steps in the loop": {"recover_in_loop": "kd:20steps"},
    "supernet of 60 steps": {"supernet": "60steps"},
}
#: What needs no network.
SUM: Final = "sum of sensitivities"


class Bench:
    """One seed's data, policies and rows."""

    def __init__(self, out: Path, seed: int, count: int) -> None:
        self.out, self.seed, self.count = out, seed, count
        self.data, self.dense = load_cifar(SHARED), load_resnet(SHARED, 20)
        order = torch.randperm(len(self.data.train), generator=torch.Generator().manual_seed(seed))
        self.held, self.rest = order[:HELD_BACK], order[HELD_BACK:]
        out.mkdir(parents=True, exist_ok=True)

    def rows(self) -> list[Row]:
        """All that are there of this seed."""
        path = self.out / "rows.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [row for row in map(json.loads, lines) if row["seed"] == self.seed]

    def add(self, policy: int, what: str, score: float, seconds: float) -> None:
        """Append a row: a policy's score by a proxy or the truth, and the CPU seconds of it."""
        row = {"seed": self.seed, "policy": policy, "what": what, "score": score}
        with (self.out / "rows.jsonl").open("a") as file:
            file.write(json.dumps(row | {"seconds": seconds}) + "\n")
        print(row, f"{seconds:.1f} CPU s", flush=True)

    def missing(self, what: str) -> list[int]:
        """Policies without such a row."""
        done = {row["policy"] for row in self.rows() if row["what"] == what}
        return [number for number in range(self.count) if number not in done]

    def prepared(self, name: str) -> automl.Preparation:
        """What a search with this proxy has before its study."""
        train, held = self.rest[:CALIBRATION], self.held
        data = (Drawn(self, 40), [*self.batches(held)], [*self.batches(train[:250])])
        return automl.prepare(
            self.dense,
            data,
            target="cpu",
            budget="50%MACs",
            choices=("channels", "blocks"),
            calibration=CALIBRATION,
            seed=self.seed,
            out=self.out / f"{name.replace(' ', '-')}-{self.seed}",
            **PROXIES[name],
        )

    def batches(self, numbers: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Training images of these numbers with their labels."""
        for some in numbers.split(250):
            yield normalised(self.data.train[some]), self.data.train_labels[some].long()

    @cached_property
    def usual(self) -> automl.Preparation:
        """Of the usual search."""
        return self.prepared("refit")

    @cached_property
    def policies(self) -> list[Policy]:
        """Near and far from the additive optimum, and random, in turn."""
        problem, generator = self.usual.problem, np.random.default_rng(self.seed)
        chance = iter(make_agent("random", problem, self.seed).ask(self.count))
        found: dict[bytes, Policy] = {}
        while len(found) < self.count:
            width = (0.5, 1.5, 0.0)[len(found) % 3]
            if width:
                perturbed = [
                    each * generator.lognormal(0.0, width) for each in problem.sensitivity.single
                ]
                vector = solve(problem.costs, perturbed, problem.budget).vector
                policy = problem.space.decode(vector)
            else:
                policy = next(chance)
            found.setdefault(problem.space.encode(policy).tobytes(), policy)
        return list(found.values())

    def truth(self) -> None:
        """Of one policy more."""
        for number in self.missing("truth")[:1]:
            start = time.process_time()
            model = self.usual.make(self.policies[number])
            before = self.judged(model)
            student = automl.trainable(model, [*self.batches(self.rest[:HELD_BACK])])
            objective = Objective(student, (self.dense,), RecoveryRecipe().made_terms())
            data = RecoveryData(Drawn(self, STEPS), seed=self.seed)
            recover(objective, data, RecoveryRecipe(epochs=1))
            after = self.judged(automl.delivered(student))
            self.add(number, "delivered", before, 0.0)
            self.add(number, "truth", after, time.process_time() - start)

    def judged(self, model: torch.nn.Module) -> float:
        """Percent of the test images."""
        return accuracy(model, self.data.test, self.data.test_labels)

    def proxy(self, name: str) -> None:
        """All policies by one proxy."""
        wanted = self.missing(name)
        if name == SUM:
            problem = self.usual.problem
            for number in wanted:
                vector = problem.space.encode(self.policies[number])
                pairs = zip(problem.sensitivity.single, vector, strict=True)
                self.add(number, name, -float(sum(row[at] for row, at in pairs)), 0.0)
            return
        prepared = self.prepared(name) if wanted else self.usual
        for number in wanted:
            start = time.process_time()
            score = prepared.evaluate(self.policies[number])
            self.add(number, name, score, time.process_time() - start)


class Drawn:
    """Batches of training images, mirrored and shifted, drawn by torch's generator."""

    def __init__(self, bench: Bench, count: int) -> None:
        self._bench, self._count = bench, count

    def __len__(self) -> int:
        """Batches of one pass."""
        return self._count

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Of one pass."""
        data, rest = self._bench.data, self._bench.rest
        for _ in range(self._count):
            some = rest[torch.randint(len(rest), (BATCH,))]
            yield shifted(normalised(data.train[some])), data.train_labels[some].long()


def table(rows: list[Row]) -> None:
    """Rank correlations of each proxy with the truth, as markdown."""
    by: dict[str, dict[int, float]] = {}
    for row in rows:
        by.setdefault(row["what"], {})[row["policy"]] = row["score"]
    truth = by.pop("truth")
    print("| ranked by | policies | Spearman | Kendall | truth of its best | CPU s a candidate |")
    print("|---|---|---|---|---|---|")
    for what, found in by.items():
        shared = sorted(found.keys() & truth.keys())
        pair = [found[number] for number in shared], [truth[number] for number in shared]
        best = truth[max(shared, key=lambda number: found[number])]
        seconds = [row["seconds"] for row in rows if row["what"] == what]
        correlated: list[Callable[..., Any]] = [spearmanr, kendalltau]
        rho, tau = (float(each(*pair).statistic) for each in correlated)
        print(
            f"| {what} | {len(shared)} | {rho:.2f} | {tau:.2f} | {best:.2f}"
            f" | {float(np.mean(seconds)):.1f} |"
        )
    print(f"\ntruth: {min(truth.values()):.2f} to {max(truth.values()):.2f} %")


def main() -> None:
    """Find what is asked for, or print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/proxies"))
    parser.add_argument("--policies", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--proxy", choices=(*PROXIES, SUM), default=None)
    parser.add_argument("--truth", action="store_true")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(options.out, options.seed, options.policies)
    if options.truth:
        bench.truth()
    if options.proxy:
        bench.proxy(options.proxy)
    if options.table:
        table(bench.rows())


if __name__ == "__main__":
    main()
