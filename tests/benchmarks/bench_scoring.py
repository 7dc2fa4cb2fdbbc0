"""Does what a search scores rank like what is delivered? And where does a candidate's time go?

ResNet-56 on CIFAR-10 near 50 % of the multiply-accumulates. Each of the policies (solutions of the
additive problem under perturbed sensitivity, and random ones that fill the budget) is finished in
full on 2,000 calibration images, and scored by cheaper proxies: not refitted at all, or refitted on
fewer images, rows and rounds. All are judged on training images that the calibration does not hold.

    python tests/benchmarks/bench_scoring.py --shared ../shared --rows scoring.jsonl --policies 12
    python tests/benchmarks/bench_scoring.py --rows scoring.jsonl --table
    python tests/benchmarks/bench_scoring.py --shared ../shared --split --race --policies 6

`--table` prints what a file holds, `--split` where a candidate's time goes, `--race` how soon
candidates are given up.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import numpy as np
import torch
from bench_resnet56 import Bench
from cifar import Cifar, load_cifar, load_resnet, normalised
from scipy.stats import kendalltau, spearmanr
from torch import nn

from automl.agents.registry import make_agent
from automl.compression.reconstruction.base import FULL_REFIT, RefitSettings
from automl.compression.reconstruction.least_squares import LeastSquares
from automl.compression.sensitivity import outputs
from automl.pipeline.context import SENSITIVITY_IMAGES
from automl.policy.policy import Policy
from automl.solver.exact import solve
from automl.study.evaluation import Evaluator
from automl.study.problem import Problem
from automl.userdata.data import Batches
from automl.userdata.scores import Logits, top1_accuracy

Tensor = torch.Tensor
Row = dict[str, Any]  # of the file of results
KEEP: Final = 0.5
CALIBRATION, HELD_OUT = 2000, 1000
#: Held-out images that proxies are scored on; the finished model sees all of them.
SCORED: Final = (64, 128, 160, 256, 512)
PROXIES: Final[dict[str, RefitSettings | None]] = {
    "not refitted": None,
    "256 images, 8,000 rows, 3 rounds": RefitSettings(images=256, rows=8_000),
    "128 images, 4,000 rows, 3 rounds": RefitSettings(images=128, rows=4_000),
    "64 images, 2,000 rows, 3 rounds": RefitSettings(images=64, rows=2_000),
    "64 images, 2,000 rows, 1 round": RefitSettings(images=64, rows=2_000, rounds=1),
    "32 images, 1,000 rows, 1 round": RefitSettings(images=32, rows=1_000, rounds=1),
}


class Judge:
    """Held-out training images with what the dense network says of them."""

    def __init__(self, data: Cifar, dense: nn.Module, used: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)  # as Bench draws its calibration images
        drawn = torch.randperm(len(data.train), generator=generator)[used : used + HELD_OUT]
        self.images, self.labels = normalised(data.train[drawn]), data.train_labels[drawn]
        self.dense = outputs(dense, self.images)
        self.variance = float(self.dense.var(0).mean())

    def metrics(self, model: nn.Module, images: int) -> tuple[Tensor, Tensor]:
        """Per image: relative squared error of the logits, and whether the class is right."""
        found = outputs(model, self.images[:images])
        errors = (found - self.dense[:images]).square().mean(1) / self.variance
        return errors, (found.argmax(1) == self.labels[:images]).double()


def policies(bench: Bench, count: int, seed: int) -> list[tuple[str, Policy]]:
    """Additive optima under perturbed sensitivity, and random policies, in turn."""
    problem = Problem(bench.space, bench.costs, bench.budget(KEEP), bench.sensitivity)
    generator = np.random.default_rng(seed)
    chance = iter(make_agent("random", problem, seed).ask(count))
    found: dict[bytes, tuple[str, Policy]] = {}
    while len(found) < count:
        kind, width = (("near", 0.3), ("far", 1.0), ("random", 0.0))[len(found) % 3]
        if width:
            sensitivity = [
                each * generator.lognormal(0.0, width) for each in bench.sensitivity.single
            ]
            policy = bench.space.decode(solve(bench.costs, sensitivity, problem.budget).vector)
        else:
            policy = next(chance)
        found.setdefault(bench.space.encode(policy).tobytes(), (kind, policy))
    return list(found.values())


def measure(bench: Bench, judge: Judge, policy: Policy) -> Row:
    """The finished model's figures and those of every proxy, with CPU seconds."""
    start = time.process_time()
    finished = bench.compressor.make(policy)
    seconds = time.process_time() - start
    errors, right = judge.metrics(finished, HELD_OUT)
    found: Row = {
        "finished": {"logits": float(errors.mean()), "accuracy": float(right.mean())},
        "finish_seconds": seconds,
        "proxies": {},
    }
    for name, settings in PROXIES.items():
        start = time.process_time()
        model = bench.compressor.make(
            policy, settings=settings or FULL_REFIT, finish=bool(settings)
        )
        seconds = time.process_time() - start
        errors, right = judge.metrics(model, max(SCORED))
        found["proxies"][name] = {
            "seconds": seconds,
            "logits": {str(n): float(errors[:n].mean()) for n in SCORED},
            "accuracy": {str(n): float(right[:n].mean()) for n in SCORED},
        }
    return found


def run(bench: Bench, judge: Judge, count: int, seed: int, rows: Path) -> None:
    """Append one row a policy; policies that have one are left out."""
    done = len(rows.read_text().splitlines()) if rows.exists() else 0
    for number, (kind, policy) in enumerate(policies(bench, count, seed)):
        if number < done:
            continue
        row = {"policy": number, "kind": kind, **measure(bench, judge, policy)}
        with rows.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(number, kind, row["finished"], flush=True)


def table(rows: Sequence[Row]) -> None:
    """Rank correlations of every proxy with the finished models' logit error, as markdown."""
    groups = {"all": rows, "not random": [row for row in rows if row["kind"] != "random"]}
    print("| proxy | scored images | score | CPU s | Spearman | Kendall | Spearman, not random |")
    print("|---|---|---|---|---|---|---|")
    for name in PROXIES:
        seconds = np.mean([row["proxies"][name]["seconds"] for row in rows])
        for score, images in (*(("logits", n) for n in SCORED), ("accuracy", max(SCORED))):
            (spearman, kendall), (others, _) = (
                correlation(some, partial(proxy, name, score, images)) for some in groups.values()
            )
            print(
                f"| {name} | {images} | {score} | {seconds:.2f} "
                f"| {spearman:.2f} | {kendall:.2f} | {others:.2f} |"
            )
    for group, some in groups.items():
        found = [row["finished"]["logits"] for row in some]
        agree, _ = correlation(some, lambda row: -row["finished"]["accuracy"])
        print(
            f"\n{group}: {len(some)} policies, logit error {min(found):.4f} to {max(found):.4f}; "
            f"finished accuracy ranks like finished logit error: Spearman {agree:.2f}"
        )


def proxy(name: str, score: str, images: int, row: Row) -> float:
    """What a proxy says of a policy, less is better."""
    found = float(row["proxies"][name][score][str(images)])
    return found if score == "logits" else -found


def correlation(rows: Sequence[Row], said: Callable[[Row], float]) -> tuple[float, float]:
    """Spearman's and Kendall's with the finished models' logit error."""
    found = [said(row) for row in rows]
    truth = [row["finished"]["logits"] for row in rows]
    return float(spearmanr(found, truth).statistic), float(kendalltau(found, truth).statistic)


def split(bench: Bench, data: Cifar, repeats: int = 3) -> None:
    """Where a candidate's CPU time goes: refit (its forward pass too), scoring passes, the rest."""
    drawn = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(1))[:256]
    validation = Batches(((normalised(data.train[drawn]), data.train_labels[drawn]),))
    print("| refit | refit s | scoring passes s | rest s | rest |\n|---|---|---|---|---|")
    for name, settings in PROXIES.items():
        if settings is None:
            continue
        clock = Clock()
        made = partial(_hooked, clock, bench.compressor.make)
        score = Logits(bench.traced.model)
        evaluate = Evaluator(bench.compressor, validation, score, settings)
        evaluate(bench.propose("lagrangian", 0.6))  # the dense outputs and the first call of torch
        with (
            patch.object(LeastSquares, "finish", clock.timed("refit", LeastSquares.finish)),
            patch.object(bench.compressor, "make", made),
        ):
            for number in range(repeats):
                policy = bench.propose("lagrangian", 0.5 + 0.01 * number)
                clock.timed("all", evaluate)(policy)
        whole, solving, passes = (clock.seconds[k] / repeats for k in ("all", "refit", "passes"))
        rest = whole - solving - passes
        print(
            f"| {name} | {solving:.2f} | {passes:.2f} | {rest:.3f} | {100 * rest / whole:.1f} % |"
        )


def race(bench: Bench, data: Cifar, count: int, seed: int) -> None:
    """On how many of 1,000 images policies are given up against the additive optimum."""
    judge = Judge(data, bench.traced.model, CALIBRATION, seed)
    validation = Batches(((judge.images, judge.labels),))
    settings = PROXIES["64 images, 2,000 rows, 1 round"]
    assert settings is not None
    incumbent = bench.propose("lagrangian", KEEP)
    print("| policy | score | images | estimate | on all images | incumbent |")
    print("|---|---|---|---|---|---|")
    for score in (Logits(bench.traced.model), top1_accuracy):
        evaluate = Evaluator(bench.compressor, validation, score, settings)
        best, name = evaluate(incumbent), type(score).__name__
        for kind, policy in policies(bench, count, seed):
            raced = evaluate.evaluate_against(policy, incumbent)
            full = evaluate(policy)
            row = (kind, name, raced.images, *(f"{x:.4f}" for x in (raced.score, full, best)))
            print("|", " | ".join(map(str, row)), "|", flush=True)


class Clock:
    """CPU seconds by name."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function with its seconds counted."""

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            answer = function(*args, **kwargs)
            self.seconds[name] += time.process_time() - start
            return answer

        return wrapped


def _hooked(clock: Clock, make: Callable[..., nn.Module], *args: Any, **kwargs: Any) -> nn.Module:
    """A made model whose passes are counted."""
    model = make(*args, **kwargs)
    model.forward = clock.timed("passes", model.forward)
    return model


def main() -> None:
    """Measure, or print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--rows", type=Path, default=Path("scoring.jsonl"))
    parser.add_argument("--policies", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--split", action="store_true")
    parser.add_argument("--race", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.split or options.race:
        data, model = load_cifar(options.shared), load_resnet(options.shared, 56)
        bench = Bench(model, data, options.seed, 512, SENSITIVITY_IMAGES)
        if options.split:
            split(bench, data)
        if options.race:
            race(bench, data, options.policies, options.seed)
        return
    if not options.table:
        data, model = load_cifar(options.shared), load_resnet(options.shared, 56)
        bench = Bench(model, data, options.seed, CALIBRATION, SENSITIVITY_IMAGES)
        judge = Judge(data, bench.traced.model, CALIBRATION, options.seed)
        run(bench, judge, options.policies, options.seed, options.rows)
    table([json.loads(line) for line in options.rows.read_text().splitlines()])


if __name__ == "__main__":
    main()
