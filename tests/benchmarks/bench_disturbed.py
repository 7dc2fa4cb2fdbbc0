"""What a disturbed machine does to the rows of a table: the median of passes, the quickest pass.

Operators of EfficientNet-Lite1 (no weights are needed), in floats and in integers, are timed pass
after pass as the worker does it, with more passes than it takes. Then both rules are applied to
the same passes: when each would have ended, how far its values are from those of all passes of
all rounds together, and how far their sum is off from round to round.

    python tests/benchmarks/bench_disturbed.py [--operators 32] [--rounds 6] [--passes 36]

    median     the median over passes of a probe's value, at least 7, until its 68 % interval is 3 %
    quickest   each model's quickest pass, at least 4, until two others came near it (worker.py)

The passes of a batch end together where the time is up, which is not simulated: `passes` of the
rule that needs more are fewer in a search, and its rows worse.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

import automl.profiling
from automl.latency import OpKey
from automl.profiling.microbench import probe
from automl.profiling.runner import Probe

sys.path.insert(0, str(Path(automl.profiling.__file__).parent))  # as on a board
import worker

Floats = npt.NDArray[np.float64]
#: Input channels, output channels, kernel, groups and pixels of convolutions of EfficientNet-Lite1.
LAYERS: Final = (
    (32, 16, 1, 1, 120),
    (16, 96, 1, 1, 120),
    (96, 24, 1, 1, 60),
    (24, 144, 1, 1, 60),
    (144, 144, 3, 144, 60),
    (144, 40, 1, 1, 30),
    (40, 240, 1, 1, 30),
    (240, 240, 5, 240, 30),
    (240, 80, 1, 1, 15),
    (80, 480, 1, 1, 15),
    (480, 480, 3, 480, 15),
    (480, 112, 1, 1, 15),
    (112, 672, 1, 1, 15),
    (672, 672, 5, 672, 15),
    (672, 192, 1, 1, 8),
    (192, 1152, 1, 1, 8),
    (1152, 1152, 5, 1152, 8),
    (1152, 320, 1, 1, 8),
    (320, 1280, 1, 1, 8),
)
PASS_SECONDS: Final = 0.003
LIMIT: Final = 0.03  # of the spread at which an operator is finished


@dataclass(frozen=True, slots=True)
class Recorded:
    """Passes of one operator.

    Attributes:
        weights: Of the times of its models, (models,).
        rounds: Seconds of each model in each pass, (passes, models), one for each round.
    """

    weights: Floats
    rounds: tuple[Floats, ...]

    @property
    def reference(self) -> float:
        """Seconds by the quickest passes of all rounds."""
        return float(self.weights @ np.vstack(self.rounds).min(0))


def keys(count: int) -> list[OpKey]:
    """So many operators, each in one precision."""
    found = []
    for inputs, outputs, kernel, groups, pixels in LAYERS:
        for precision in ("fp32", "int8"):
            found.append(
                OpKey(
                    "conv2d",
                    inputs,
                    outputs,
                    (kernel, kernel),
                    padding=(kernel // 2, kernel // 2),
                    groups=groups,
                    in_size=(pixels, pixels),
                    out_size=(pixels, pixels),
                    precision=precision,
                )
            )
    random.Random(0).shuffle(found)
    return found[:count]


def one_round(probes: Sequence[Probe], passes: int) -> list[Floats]:
    """The passes of a batch of new sessions, by operator."""
    runtime = worker.OnnxRuntime()
    with ExitStack() as resources:
        loaded = [
            worker.LoadedProbe(
                index,
                list(one.weights),
                [runtime.load(model, 1, resources) for model in one.models],
                PASS_SECONDS,
            )
            for index, one in enumerate(probes)
        ]
        for _ in range(passes):
            for one in loaded:
                one.one_pass()
        return [np.asarray(one.passes) for one in loaded]


def by_median(times: Floats, weights: Floats) -> tuple[float, float, bool]:
    """The value, its stated half-width, and whether it is finished, of at least 7 passes."""
    values = times @ weights
    median = float(np.median(values))
    off = 1.2533 * 1.4826 * float(np.median(np.abs(values - median))) / len(values) ** 0.5
    whole = float(np.abs(weights) @ times[-1])
    return median, off, len(values) >= 7 and off <= LIMIT * max(abs(median), 0.1 * whole)


def by_quickest(times: Floats, weights: Floats) -> tuple[float, float, bool]:
    """The same as the worker has it, of at least 4 passes."""
    found = worker.LoadedProbe(0, list(weights), [], PASS_SECONDS)
    found.passes = times.tolist()
    value, off = found.result()
    return value, off, len(times) >= 4 and found.settled(LIMIT)


Rule = Callable[[Floats, Floats], tuple[float, float, bool]]
RULES: Final[dict[str, Rule]] = {"median": by_median, "quickest": by_quickest}


def judged(recorded: Sequence[Recorded], rule: Rule) -> str:
    """One line of the table."""
    ended, values, stated = [], [], []
    for one in recorded:
        for times in one.rounds:
            for count in range(3, len(times) + 1):
                value, off, finished = rule(times[:count], one.weights)
                if finished:
                    break
            ended.append(count)
            values.append(value)
            stated.append(off)
    shape = (len(recorded), len(recorded[0].rounds))
    found, widths = np.reshape(values, shape), np.reshape(stated, shape)
    references = np.array([one.reference for one in recorded])
    off = np.abs(found / references[:, None] - 1.0)
    sums = found.sum(0) / references.sum()
    within = np.mean(np.abs(found - references[:, None]) <= widths)
    return (
        f"{np.mean(ended):.1f} | {np.mean(np.equal(ended, len(recorded[0].rounds[0]))):.0%}"
        f" | {np.median(off):.1%} | {np.quantile(off, 0.9):.1%} | {sums.mean() - 1.0:+.1%}"
        f" | {sums.std():.1%} | {within:.0%}"
    )


def main() -> None:
    """Record, and print both rules."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--operators", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--passes", type=int, default=36)
    given = parser.parse_args()
    probes = [probe(key) for key in keys(given.operators)]
    rounds = [one_round(probes, given.passes) for _ in range(given.rounds)]
    recorded = [
        Recorded(np.asarray(one.weights), tuple(times[index] for times in rounds))
        for index, one in enumerate(probes)
    ]
    slow = [
        np.mean(times > 1.1 * np.vstack(one.rounds).min(0))
        for one in recorded
        for times in one.rounds
    ]
    print(f"{np.mean(slow):.0%} of the passes were more than 10 % slower than the quickest")
    print("| rule | passes | not finished | off, median | 90 % | sum | its deviation | within |")
    print("|---|---|---|---|---|---|---|---|")
    for name, rule in RULES.items():
        print(f"| {name} | {judged(recorded, rule)} |")


if __name__ == "__main__":
    main()
