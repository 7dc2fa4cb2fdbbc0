"""What training brings back: residual networks on CIFAR-10 at half of their MACs, and the example.

The policy is that of the plain command (build/recovery/policies, made once a seed). Then
`automl apply policy.json --recover recipe.toml` trains on 49,000 images, mirrored and shifted by up
to four pixels; 1,000 others decide whether the trained weights are kept, and all 10,000 test images
judge once a row, the last weights and no best ones. The example is `--recover auto:2min`.

A row is told in CPU minutes of training. What a step takes is measured over 24 of them, and as many
are made as there is time for: a machine that does other work makes the same number. Only `auto`
goes by the clock, and makes fewer there.

    python tests/benchmarks/bench_recovery.py                      # ResNet-56 and -20, the example
    python tests/benchmarks/bench_recovery.py --networks resnet56 --minutes 360 --rate 0.05
    python tests/benchmarks/bench_recovery.py --table              # of the rows that are there

Rows are appended to build/recovery/rows.jsonl; those that are there are not run again. A training
that was killed goes on. All that is asked for by default takes about 27 CPU hours.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from cifar import SHARED, load_cifar, load_resnet, normalised
from torch import Tensor, nn

SEED, STEPS, CLOCK = "AUTOML_BENCH_SEED", "AUTOML_BENCH_STEPS", "AUTOML_BENCH_CLOCK"
HELD_BACK, BATCH = 1000, 125
#: Steps of an epoch, after which a checkpoint is written, and those that are timed. Neither is 17:
#: so many batches calibrating reads.
EPOCH, TIMED = 50, 24
EXAMPLE = "example"
BUDGETS = {"resnet56": "50%MACs", "resnet20": "50%MACs", EXAMPLE: "10%MACs"}


def resnet20() -> nn.Module:
    """As trained."""
    return load_resnet(SHARED, 20)


def resnet56() -> nn.Module:
    """As trained."""
    return load_resnet(SHARED, 56)


@dataclass(frozen=True, slots=True)
class Augmented:
    """So many batches of training images, mirrored and shifted at random.

    Attributes:
        images: uint8 [n, 32, 32, 3].
        labels: int64 [n].
        batches: Of one pass.
    """

    images: Tensor
    labels: Tensor
    batches: int

    def __len__(self) -> int:
        """Batches of one pass."""
        return self.batches

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Drawn by torch's generator; CPU seconds so far are noted before each."""
        for number in range(self.batches):
            note_cpu(number)
            some = torch.randint(len(self.images), (BATCH,))
            yield shifted(normalised(self.images[some])), self.labels[some]


def shifted(images: Tensor) -> Tensor:
    """Each mirrored or not, and moved by up to four pixels, [n, 3, 32, 32], where they lie."""
    count, device = len(images), images.device
    mirror = (torch.rand(count, 1, 1, 1) < 0.5).to(device)
    padded = nn.functional.pad(torch.where(mirror, images, images.flip(3)), (4, 4, 4, 4))
    moves = [torch.randint(9, (count, 1)) + torch.arange(32) for _ in range(2)]
    rows, columns = (each.to(device) for each in moves)
    numbers = torch.arange(count, device=device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[numbers, rows[:, :, None], columns[:, None]].permute(
        0, 3, 1, 2
    )


def note_cpu(number: int) -> None:
    """CPU seconds of this process as a batch is drawn, in the file that the bench reads."""
    if CLOCK in os.environ:
        with Path(os.environ[CLOCK]).open("a") as file:
            file.write(f"{number} {time.process_time()}\n")


def loaders() -> tuple[Augmented, list[tuple[Tensor, Tensor]], list[tuple[Tensor, Tensor]]]:
    """Images to train on, those of them that are held back, and the test images."""
    data = load_cifar(SHARED)
    generator = torch.Generator().manual_seed(int(os.environ[SEED]))
    order = torch.randperm(len(data.train), generator=generator)
    held, rest = order[:HELD_BACK], order[HELD_BACK:]

    def batches(images: Tensor, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
        parts = zip(images.split(250), labels.split(250), strict=True)
        return [(normalised(some), truth.long()) for some, truth in parts]

    return (
        Augmented(data.train[rest], data.train_labels[rest].long(), int(os.environ[STEPS])),
        batches(data.train[held], data.train_labels[held]),
        batches(data.test, data.test_labels),
    )


@dataclass(frozen=True, slots=True)
class Row:
    """One recovery. Accuracies in percent of all test images.

    Attributes:
        network, minutes, seed, terms, rate: Which row it is; terms are "auto" for the rungs.
        dense, before, after: Of the dense network, the compressed one, and that trained.
        steps: Of training, of `BATCH` images each; 0 for "auto", which tells them in words.
        training_cpu: CPU seconds of these; of "auto" those of the whole command.
        search_cpu: CPU seconds of the search, once a policy.
        seconds: Wall time of `automl apply`, its refit and judging among it.
        load, ended: Of the machine when the row began; when it was done.
        said: What the command said of the recovery.
    """

    network: str
    minutes: float
    seed: int
    terms: str
    rate: float
    dense: float
    before: float
    after: float
    steps: int
    training_cpu: float
    search_cpu: float
    seconds: float
    load: float
    ended: str
    said: str

    @property
    def key(self) -> tuple[str, float, int, str, float]:
        """What is not run twice."""
        return (self.network, self.minutes, self.seed, self.terms, self.rate)


@dataclass(frozen=True, slots=True)
class Ended:
    """What a command printed and took."""

    told: dict[str, Any]
    seconds: float
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Bench:
    """Where rows are kept, and how they are made.

    Attributes:
        out: The folder.
        terms, rate: Of the residual networks' recoveries.
    """

    out: Path
    terms: str
    rate: float

    @property
    def path(self) -> Path:
        """The rows, a line each."""
        return self.out / "rows.jsonl"

    def rows(self) -> list[Row]:
        """All that are there."""
        if not self.path.is_file():
            return []
        return [Row(**json.loads(text)) for text in self.path.read_text().splitlines()]

    def add(self, network: str, minutes: float, seed: int) -> Row | None:
        """Make a row and append it; None where it is there."""
        by_clock = network == EXAMPLE
        key = (network, minutes, seed, *(("auto", 0.0) if by_clock else (self.terms, self.rate)))
        if key in {row.key for row in self.rows()}:
            return None
        found = self.policy(network, seed)
        if by_clock:
            row = self.by_clock(found, key)
        else:
            steps = max(TIMED, round(60 * minutes / self.pace(network, seed)))
            row = self.by_steps(found, key, steps)
        with self.path.open("a") as file:
            file.write(json.dumps(asdict(row)) + "\n")
        return row

    def policy(self, network: str, seed: int) -> dict[str, Any]:
        """What the plain search printed, with its CPU seconds; made once."""
        folder = self.out / "policies" / f"{network}-{seed}"
        told = folder.with_suffix(".json")
        if not told.is_file():
            words = ["--target", "cpu", "--budget", BUDGETS[network], "--seed", str(seed)]
            ended = self.run(["search", *task(network), *words, "--out", str(folder)], seed, TIMED)
            told.write_text(json.dumps(ended.told | {"cpu_seconds": ended.cpu_seconds}))
        found: dict[str, Any] = json.loads(told.read_text())
        return found | {"path": str(folder / "policy.json")}

    def pace(self, network: str, seed: int) -> float:
        """CPU seconds of a step of this network's recovery, measured once."""
        kept = self.out / "policies" / f"{network}-{seed}-{self.terms}-pace.json"
        if not kept.is_file():
            found = self.policy(network, seed)
            row = self.by_steps(found, (network, 0.0, seed, self.terms, self.rate), TIMED)
            kept.write_text(json.dumps(row.training_cpu / row.steps))
        return float(json.loads(kept.read_text()))

    def by_steps(
        self, found: dict[str, Any], key: tuple[str, float, int, str, float], steps: int
    ) -> Row:
        """A recovery of so many steps."""
        network, minutes, seed, terms, rate = key
        each = min(steps, EPOCH)
        name = f"{network}-{seed}-{terms}-{rate}-{minutes}"
        recipe = self.out / "trained" / f"{name}.toml"
        recipe.parent.mkdir(exist_ok=True)
        lines = [f"epochs = {round(steps / each)}", f"learning_rate = {rate}"]
        recipe.write_text("\n".join([*lines, *(f"[terms.{term}]" for term in terms.split("+"))]))
        return self.applied(found, key, recipe, each)

    def by_clock(self, found: dict[str, Any], key: tuple[str, float, int, str, float]) -> Row:
        """The rungs, in minutes of wall time."""
        return self.applied(found, key, f"auto:{key[1]:g}min", 0)

    def applied(
        self,
        found: dict[str, Any],
        key: tuple[str, float, int, str, float],
        recover: Path | str,
        each: int,
    ) -> Row:
        """`automl apply`, and what it printed."""
        network, minutes, seed, terms, rate = key
        weights = self.out / "trained" / f"{network}-{seed}-{terms}-{rate}-{minutes}.pt"
        weights.parent.mkdir(exist_ok=True)
        load = os.getloadavg()[0]
        words = ["--recover", str(recover), "--seed", str(seed), "--out", str(weights)]
        clock = weights.with_suffix(".clock")
        ended = self.run(["apply", found["path"], *task(network), *words], seed, each, clock)
        steps, cpu = read_clock(clock, each) if each else (0, ended.cpu_seconds)
        return Row(
            network=network,
            minutes=minutes,
            seed=seed,
            terms=terms,
            rate=rate,
            dense=100 * found["dense"]["score"],
            before=100 * found["compressed"]["score"],
            after=100 * ended.told["compressed"]["score"],
            steps=steps,
            training_cpu=cpu,
            search_cpu=found["cpu_seconds"],
            seconds=ended.seconds,
            load=load,
            ended=f"{datetime.now():%Y-%m-%d %H:%M}",
            said="; ".join(note for note in ended.told["notes"] if "recover" in note),
        )

    def run(self, words: list[str], seed: int, steps: int, clock: Path | None = None) -> Ended:
        """The command with one thread, whose CPU minutes are then those of one core.

        Raises:
            SystemExit: It failed; it has said why.
        """
        told = {SEED: str(seed), STEPS: str(steps), "OMP_NUM_THREADS": "1"}
        if clock is not None:
            told[CLOCK] = str(clock)
        command = [sys.executable, "-m", "automl", *words, "--json"]
        environment = os.environ | told | {"PYTHONPATH": os.pathsep.join(sys.path)}
        start = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
        assert process.stdout is not None
        printed = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(process.returncode)
        seconds = time.monotonic() - start
        return Ended(json.loads(printed), seconds, used.ru_utime + used.ru_stime)


def task(network: str) -> list[str]:
    """Model and data, as the command takes them."""
    if network == EXAMPLE:
        return ["--example", "classifier"]
    here = Path(__file__).resolve()
    return ["--model", f"{here}:{network}", "--data", f"{here}:loaders"]


def read_clock(path: Path, each: int) -> tuple[int, float]:
    """Steps of training and their CPU seconds, and the file is deleted.

    Passes that are not whole are those of calibrating and those that were killed. The last step of
    a pass has no end: it counts as the others.
    """
    passes: list[list[float]] = []
    for line in path.read_text().splitlines():
        number, seconds = line.split()
        if number == "0":
            passes.append([])
        passes[-1].append(float(seconds))
    path.unlink()
    trained = [times for times in passes if len(times) == each]
    took = [(times[-1] - times[0]) * each / (each - 1) for times in trained]
    return each * len(trained), sum(took)


def table(rows: list[Row]) -> str:
    """Markdown, a line each row."""
    titles = (
        *("network", "losses", "rate", "minutes", "seed", "dense", "compressed", "trained"),
        *("drop", "brought back", "steps", "CPU s of training", "of the search", "s"),
    )
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    order = sorted(rows, key=lambda row: (row.network, row.minutes, row.terms, row.rate, row.seed))
    lines += [f"| {' | '.join(cells(row))} |" for row in order]
    hours = sum(row.training_cpu for row in rows) + sum(
        {(row.network, row.seed): row.search_cpu for row in rows}.values()
    )
    return "\n".join([*lines, "", f"{hours / 3600:.2f} CPU hours"])


def cells(row: Row) -> tuple[str, ...]:
    """Of one row, as they are printed."""
    lost = row.dense - row.before
    share = f"{100 * (row.after - row.before) / lost:.0f} %" if lost > 0 else "-"
    return (
        row.network,
        row.terms,
        f"{row.rate:g}" if row.rate else "-",
        f"{row.minutes:g}",
        str(row.seed),
        f"{row.dense:.2f}",
        f"{row.before:.2f}",
        f"{row.after:.2f}",
        f"{row.dense - row.after:.2f}",
        share,
        f"{row.steps:,}" if row.steps else "-",
        f"{row.training_cpu:.0f}",
        f"{row.search_cpu:.0f}",
        f"{row.seconds:.0f}",
    )


def main() -> None:
    """Make the rows that are asked for and not there, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=BUDGETS, default=[*BUDGETS])
    parser.add_argument("--minutes", type=float, nargs="+", default=[5, 30, 360])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--terms", default="kd", help="losses, as kd+hints")
    parser.add_argument("--rate", type=float, default=0.01, help="learning rate")
    parser.add_argument("--out", type=Path, default=Path("build/recovery"))
    parser.add_argument("--table", action="store_true", help="only print it")
    options = parser.parse_args()
    bench = Bench(options.out.resolve(), options.terms, options.rate)
    (bench.out / "policies").mkdir(parents=True, exist_ok=True)
    asked = [
        (network, minutes, seed)
        for minutes in options.minutes
        for network in options.networks
        for seed in options.seeds
    ]
    for network, minutes, seed in [] if options.table else asked:
        row = bench.add(network, 2.0 if network == EXAMPLE else minutes, seed)
        if row is not None:
            print(" | ".join(cells(row)), row.said, sep="\n", flush=True)
    print(table(bench.rows()))


if __name__ == "__main__":
    main()
