"""Every agent on one problem at equal numbers of image evaluations.

ResNet-56 on CIFAR-10 at half of its multiply-accumulates and at half of its latency on this
machine, and a small network on flowers photos with its resolution to choose. An image evaluation is
one image through one candidate network, in its refit or in its score. Candidates are scored by
their logits on training images that the calibration does not hold; the best of each run is finished
on 2,000 images and judged once on all test images. Nothing is trained.

All that is found is appended to files in `--out` at once, so a run that was stopped goes on.

    python tests/benchmarks/train_flowers.py --shared ../shared --out build/agents
    python tests/benchmarks/bench_agents.py --shared ../shared --out build/agents --minutes 60
    python tests/benchmarks/bench_agents.py --out build/agents --table docs/agents_benchmark.svg
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from agents_problems import EVALUATIONS, Contest, flowers, resnet56
from agents_report import best_at, report

from automl.agents.registry import AGENTS, make_agent
from automl.errors import AutomlError
from automl.policy.policy import Policy
from automl.space import channel_counts
from automl.study.loop import StudySettings, run_study
from automl.study.problem import Completed, Trial

CHECKPOINTS = (5_000, 20_000, 60_000, 200_000)
#: What AMC's paper searches for, in episodes, as evaluations.
AMC_EVALUATIONS = 400 * EVALUATIONS
COLD = ("amc", "optuna-tpe", "optuna-nsga2", "optuna-cmaes", "optuna-gp")
VARIANTS = (*(name for name in AGENTS.ours if name != "haq"), *(f"{name} (cold)" for name in COLD))
#: Candidates are asked for in eights: runs that are gone on with must ask as they did before.
BATCH = 8


@dataclass(frozen=True, slots=True)
class LeafCall:
    """Some agents on a problem with some seeds, up to a number of evaluations."""

    problem: str
    evaluations: int
    variants: Sequence[str] = VARIANTS
    seeds: Sequence[int] = (0, 1, 2)


#: The most telling first.
PLAN = (
    LeafCall("resnet56-macs", 5_000),
    LeafCall("resnet56-macs", AMC_EVALUATIONS, ("amc", "amc (cold)"), (0,)),
    LeafCall("flowers-macs", 5_000),
    LeafCall("flowers-jetson-nano", 20_000, ("three-dims",)),
    LeafCall("flowers-rpi4", 20_000, ("three-dims",)),
    LeafCall("resnet56-latency", 5_000),
    LeafCall("resnet56-macs", AMC_EVALUATIONS, ("amc", "amc (cold)")),
    *(
        LeafCall(problem, evaluations)
        for evaluations in CHECKPOINTS[1:]
        for problem in ("resnet56-macs", "flowers-macs", "resnet56-latency")
    ),
)


class Book:
    """What was found, one JSON object a line: scores, runs and finished policies."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "found.jsonl"
        self.rows: list[dict[str, Any]] = []
        self.scores: dict[tuple[str, str], float] = {}
        self.finished: dict[tuple[str, str], float] = {}
        self.refused: dict[tuple[str, str], str] = {}
        if self._path.is_file():
            for line in self._path.read_text(encoding="utf-8").splitlines():
                self._learn(json.loads(line))

    def add(self, **row: Any) -> None:
        """Keep a row, in the file at once."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self._learn(row)

    def runs(self, problem: str, variant: str, seed: int) -> dict[str, Any]:
        """The longest run, or an empty row."""
        found = [
            row
            for row in self.rows
            if (row["kind"], row["problem"], row.get("variant"), row.get("seed"))
            == ("run", problem, variant, seed)
        ]
        return max(found, key=lambda row: int(row["evaluations"]), default={})

    def _learn(self, row: dict[str, Any]) -> None:
        if row["kind"] == "score":
            self.scores[row["problem"], row["policy"]] = row["score"]
            return
        self.rows.append(row)
        if row["kind"] == "refused":
            self.refused[row["problem"], row["variant"]] = row["reason"]
        if row["kind"] == "finished":
            self.finished[row["problem"], row["policy"]] = row["accuracy"]


class Runner:
    """Runs steps until the time is over."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.book = Book(options.out)
        self._end: float = time.monotonic() + 60 * options.minutes
        self._makers = makers(options)
        self._contest: Contest | None = None

    @property
    def late(self) -> bool:
        """Whether nothing more may be started."""
        return time.monotonic() > self._end

    def contest(self, name: str) -> Contest:
        """The problem; one at a time is in memory."""
        if self._contest is None or self._contest.name != name:
            self._contest = None
            start = time.process_time()
            self._contest = self._makers[name]()
            spent = time.process_time() - start
            print(f"{name}: prepared in {spent:.0f} CPU s", flush=True)
            if not any(r["kind"] == "problem" and r["problem"] == name for r in self.book.rows):
                self.book.add(
                    kind="problem",
                    problem=name,
                    dense=self._contest.dense_accuracy(),
                    sensitivity=self._contest.sensitivity_evaluations,
                    budget=str(self._contest.problem.budget),
                    evaluations=EVALUATIONS,
                )
        return self._contest

    def search(self, step: LeafCall) -> None:
        """All runs of a step that were not made yet, all agents with one seed first."""
        for seed in step.seeds:
            for variant in step.variants:
                made = self.book.runs(step.problem, variant, seed)
                if (step.problem, variant) in self.book.refused:
                    continue
                done = made.get("ended") or made.get("evaluations", 0) >= step.evaluations
                if not done and not self.late:
                    self._run(self.contest(step.problem), variant, seed, step.evaluations)

    def _run(self, contest: Contest, variant: str, seed: int, evaluations: int) -> None:
        candidates = evaluations // EVALUATIONS
        curve: list[tuple[int, float, str]] = []
        scoring = 0.0

        def score(policy: Policy) -> float:
            nonlocal scoring
            key = policy_key(contest, policy)
            if (contest.name, key) not in self.book.scores:
                start = time.process_time()
                found = contest.score(policy)
                seconds = time.process_time() - start
                scoring += seconds
                self.book.add(
                    kind="score", problem=contest.name, policy=key, score=found, seconds=seconds
                )
            return self.book.scores[contest.name, key]

        def on_trial(trial: Trial, best: Completed | None) -> None:
            if trial is best and trial.number < candidates:
                assert isinstance(trial, Completed)
                curve.append((trial.number + 1, trial.score, policy_key(contest, trial.policy)))

        start = time.process_time()
        try:
            agent = make_agent(agent_name(variant), contest.problem, seed, **agent_options(variant))
            asked = -(-candidates // BATCH) * BATCH
            result = run_study(contest.problem, agent, score, StudySettings(asked), on_trial)
        except AutomlError as error:
            self.book.add(
                kind="refused", problem=contest.name, variant=variant, seed=seed, reason=str(error)
            )
            print(f"{contest.name} {variant}: {error}", flush=True)
            return
        ended = len(result.trials) < asked
        self.book.add(
            kind="run",
            problem=contest.name,
            variant=variant,
            seed=seed,
            evaluations=evaluations,
            candidates=min(len(result.trials), candidates),
            ended=ended,
            curve=curve,
            split=split_of(contest, policy_of(contest, curve[-1][2])),
            agent_seconds=time.process_time() - start - scoring,
        )
        trials = min(len(result.trials), candidates)
        print(
            f"{contest.name} {variant} seed {seed}: {trials} candidates, best {curve[-1][1]:.5f}, "
            f"{scoring:.0f} CPU s of scores",
            flush=True,
        )

    def finish(self, step: LeafCall) -> None:
        """The best policies of a step's runs: finished and judged, each once."""
        for seed in step.seeds:
            for variant in step.variants:
                run = self.book.runs(step.problem, variant, seed)
                key = best_at(run, step.evaluations, EVALUATIONS)
                if key and (step.problem, key) not in self.book.finished and not self.late:
                    contest = self.contest(step.problem)
                    start = time.process_time()
                    found = contest.finished(policy_of(contest, key))
                    self.book.add(
                        kind="finished",
                        problem=step.problem,
                        policy=key,
                        accuracy=found,
                        seconds=time.process_time() - start,
                    )
                    print(f"{step.problem} {variant} seed {seed}: {found:.2f} %", flush=True)


def makers(options: argparse.Namespace) -> dict[str, Callable[[], Contest]]:
    """How each problem is made."""
    shared, out = options.shared, options.out
    return {
        "resnet56-macs": partial(resnet56, shared, out, "macs"),
        "resnet56-latency": partial(resnet56, shared, out, "latency"),
        "flowers-macs": partial(flowers, shared, out, "macs", "cpu", "50%MACs"),
        "flowers-jetson-nano": partial(flowers, shared, out, "jetson-nano", "jetson-nano", "50%"),
        "flowers-rpi4": partial(flowers, shared, out, "rpi4", "rpi4-1t", "50%"),
    }


def agent_name(variant: str) -> str:
    """The agent of a variant."""
    return variant.removesuffix(" (cold)")


def agent_options(variant: str) -> dict[str, object]:
    """What the agent is made with."""
    return {"warm_start": False} if variant.endswith("(cold)") else {}


def policy_key(contest: Contest, policy: Policy) -> str:
    """A policy as the text of its vector."""
    return " ".join(map(str, contest.space.encode(policy).tolist()))


def policy_of(contest: Contest, key: str) -> Policy:
    """The policy of a key."""
    vector = contest.space.dense.copy()
    vector[:] = list(map(int, key.split()))
    return contest.space.decode(vector)


def split_of(contest: Contest, policy: Policy) -> dict[str, float]:
    """Shares of blocks and of channels (of groups in kept blocks) that stay, and the input size."""
    space = contest.space
    gone = {
        space.variables[inner].name
        for gate, inners in space.nested
        if space.variables[gate].name in policy.removed
        for inner in inners
    }
    shares = [
        policy.channels[variable.name] / channel_counts(variable)[-1]
        for variable in space.variables
        if variable.kind == "channels" and variable.name not in gone
    ]
    return {
        "depth": 1 - len(policy.removed) / max(1, len(space.of_kind("block"))),
        "width": sum(shares) / max(1, len(shares)),
        "resolution": float(policy.resolution or contest.traced.network.input_shape[-1]),
    }


def steps(options: argparse.Namespace) -> Iterator[LeafCall]:
    """The plan, or what of it was asked for."""
    for step in PLAN:
        seeds = [seed for seed in step.seeds if seed in options.seeds]
        variants = [each for each in step.variants if each in (options.agents or VARIANTS)]
        wanted = not options.problems or step.problem in options.problems
        if wanted and step.evaluations <= options.evaluations:
            yield LeafCall(step.problem, step.evaluations, variants, seeds)


def main() -> None:
    """Search and finish, or print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--out", type=Path, default=Path("build/agents"))
    parser.add_argument("--minutes", type=float, default=60.0, help="start nothing after that")
    parser.add_argument("--problems", nargs="+", default=[])
    parser.add_argument("--agents", nargs="+", default=[])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--evaluations", type=int, default=CHECKPOINTS[-1], help="at most a run")
    parser.add_argument("--no-finish", action="store_true", help="search only")
    parser.add_argument("--table", type=Path, default=None, help="print tables, draw this SVG")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.table:
        report(Book(options.out), options.table, sorted({*CHECKPOINTS, AMC_EVALUATIONS}))
        return
    runner = Runner(options)
    trained = (options.out / "flowers.pt").is_file()
    for step in steps(options):
        if step.problem.startswith("flowers") and not trained:
            print(f"{step.problem}: not run, train_flowers.py was not", flush=True)
            continue
        runner.search(step)
        if not options.no_finish:
            runner.finish(step)


if __name__ == "__main__":
    main()
