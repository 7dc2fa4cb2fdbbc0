"""Trainings of hours on two cores, in minutes where there is a GPU: residual networks on CIFAR-10.

ResNet-56 at half of its MACs, at 30 % of its latency in floats and at 15 % with bits: the policies
are those of the plain command (`--make`, on the machine whose latency they are for, which keeps the
networks too). Each is trained as `automl apply --recover kd` would, all at once, for the seconds
that are asked for; then three hooks beside what they are to beat, with all training images.

    python tests/benchmarks/bench_gpu.py --make                  # where latency is measured
    python tests/benchmarks/bench_gpu.py --seconds 300           # where there is a GPU
    python tests/benchmarks/bench_gpu.py --judge                 # on any machine

All 50,000 training images, mirrored and shifted by up to four pixels, in batches of 500 (hooks: of
125); nothing is held back, the last weights count, and all 10,000 test images judge them once, on
the processor. Rows are appended to build/gpu/rows.jsonl; those that are there are not made again.
It has not been run on a GPU yet, and there are no rows.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import torch
from bench_recovery import SEED, STEPS, TIMED, shifted
from cifar import SHARED, Cifar, load_cifar, load_resnet, normalised
from scoreboard_recovery import prune, put_back, staged, train, without_channels, zeros_of
from scored import Bench, Figures
from torch import Tensor, nn

import automl
from automl.compression import QuantizedModel, resized
from automl.network import trace_network, without_norms
from automl.policy import read_policy
from automl.recovery import (
    TRAINED_QUANTIZERS,
    Objective,
    QuantizedStudent,
    RecoveryData,
    RecoveryRecipe,
    recover,
    student_of_floats,
    without_dead,
)
from automl.userdata.objects import load_object

#: Of the plain command, and the rate at which the network is trained.
BUDGETS: Final = {
    "macs50": (["--budget", "50%MACs"], 0.05),
    "latency30": (["--budget", "30%", "--precisions", "float"], 0.05),
    "latency15-bits": (["--budget", "15%"], 0.02),
}
BATCH, HOOKS_BATCH = 500, 125
#: Steps by which a training's pace is measured, after those in which kernels are loaded.
PACED, FIRST = 40, 20
#: Steps of an epoch of hooks: all 50,000 images.
EPOCH = 400


@dataclass(frozen=True, slots=True)
class Row:
    """What came of one training. Accuracies in percent of all test images.

    Attributes:
        name, seed: Which row it is.
        figures: By name.
        steps, batch: Of training.
        seconds: Of training.
        device: Where.
        ended: When.
    """

    name: str
    seed: int
    figures: Mapping[str, float]
    steps: int
    batch: int
    seconds: float
    device: str
    ended: str


@dataclass(frozen=True, slots=True)
class Batches:
    """So many batches of training images, mirrored and shifted at random, where they lie.

    Attributes:
        images: Normalised, [n, 3, 32, 32], on the device that trains.
        labels: int64 [n], there too.
        batch: Images of each.
        steps: Batches of one pass.
    """

    images: Tensor
    labels: Tensor
    batch: int
    steps: int

    def __len__(self) -> int:
        """Batches of one pass."""
        return self.steps

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Drawn by torch's generator."""
        for _ in range(self.steps):
            some = torch.randint(len(self.images), (self.batch,)).to(self.images.device)
            yield shifted(self.images[some]), self.labels[some]


def here() -> torch.device:
    """What trains."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def batches(data: Cifar, batch: int, steps: int) -> Batches:
    """Of all training images."""
    parts = [normalised(some).to(here()) for some in data.train.split(5_000)]
    return Batches(torch.cat(parts), data.train_labels.long().to(here()), batch, steps)


def make(name: str, seed: int, out: Path) -> None:
    """The policy of a budget, its network before training, and what that scores; made once."""
    folder = out / f"{name}-{seed}"
    if (folder / "network.pt").is_file():
        return
    words = ["--model", f"{bench_file()}:resnet56", "--data", f"{bench_file()}:loaders"]
    told = {SEED: str(seed), STEPS: str(TIMED), "PYTHONPATH": os.pathsep.join(sys.path)}
    search = ["search", *words, "--target", "cpu", *BUDGETS[name][0], "--seed", str(seed)]
    if not (folder / "policy.json").is_file():
        command = [sys.executable, "-m", "automl", *search, "--out", str(folder)]
        subprocess.run(command, env=os.environ | told, check=True)
    os.environ.update(told)
    loaders = load_object(f"{bench_file()}:loaders")()
    made = automl.apply(folder / "policy.json", load_resnet(SHARED, 56), loaders).model
    torch.save(made, folder / "network.pt")


def bench_file() -> Path:
    """Where the network and its data are for `--model` and `--data`."""
    return Path(__file__).with_name("bench_recovery.py").resolve()


def longer(name: str, seed: int, seconds: float, out: Path) -> None:
    """A made network trained for so long, and kept beside what it was made of."""
    folder = out / f"{name}-{seed}"
    if (folder / "trained.pt").is_file():
        return
    data, network = load_cifar(SHARED), load_resnet(SHARED, 56)
    # this bench wrote it, and it is made of modules that are loaded by now
    made: nn.Module = torch.load(folder / "network.pt", weights_only=False)
    dense = trace_network(network, (1, 3, 32, 32), resolutions=()).model
    generator = torch.Generator().manual_seed(seed)
    some = data.train[torch.randperm(len(data.train), generator=generator)[:1_000]]
    resolution = read_policy(folder / "policy.json").policy.resolution
    shown = resized(normalised(some), resolution).split(250)

    def student_of(model: nn.Module) -> nn.Module:
        if isinstance(model, QuantizedModel):
            built = TRAINED_QUANTIZERS.build("lsq")
            return QuantizedStudent(model, built, shown, dense=dense, seed=seed)
        return student_of_floats(model, shown, dense)

    def trained(student: nn.Module, steps: int) -> float:
        recipe = RecoveryRecipe(epochs=1, learning_rate=BUDGETS[name][1])
        terms = recipe.made_terms()
        objective = Objective(student, (dense,), terms, resolution=resolution)
        fed = batches(data, BATCH, steps)
        return recover(objective, RecoveryData(fed, seed=seed), recipe).seconds

    student = student_of(made)
    spare = copy.deepcopy(student)
    trained(spare, FIRST)
    steps = round(seconds * PACED / trained(spare, PACED))
    took = trained(student, steps)
    frozen = getattr(student, "frozen", None)
    torch.save(without_norms(student) if frozen is None else frozen(), folder / "trained.pt")
    told = {"steps": steps, "seconds": took, **where()}
    (folder / "trained.json").write_text(json.dumps(told))


def where() -> dict[str, str]:
    """What trains, and the time."""
    cuda = here().type == "cuda"
    device = torch.cuda.get_device_name() if cuda else "processor"
    return {"device": device, "ended": f"{datetime.now():%Y-%m-%d %H:%M}"}


def judged(name: str, seed: int, out: Path) -> Row:
    """A trained network beside the dense one and that which it was made of."""
    folder, data = out / f"{name}-{seed}", load_cifar(SHARED)
    models: dict[str, nn.Module] = {"dense": load_resnet(SHARED, 56)}
    for what, file in (("before", "network.pt"), ("after", "trained.pt")):
        models[what] = torch.load(folder / file, weights_only=False, map_location="cpu")
    resolution = read_policy(folder / "policy.json").policy.resolution
    figures = {
        what: share_right(each, data, 0 if what == "dense" else resolution)
        for what, each in models.items()
    }
    told = json.loads((folder / "trained.json").read_text())
    drop = figures["dense"] - figures["after"]
    return Row(name, seed, {**figures, "drop": drop}, batch=BATCH, **told)


@torch.no_grad()
def share_right(model: nn.Module, data: Cifar, resolution: int) -> float:
    """Percent of all test images, shown at a resolution (0: as they are)."""
    parts = zip(data.test.split(250), data.test_labels.split(250), strict=True)
    right = 0
    for images, labels in parts:
        right += int((model(resized(normalised(images), resolution)).argmax(1) == labels).sum())
    return 100 * right / len(data.test)


def soft_mask(bench: Bench, fed: Batches) -> Figures:
    """A fifth of the channels gone, by masks that let filters come back and by one that keeps."""
    student = put_back(bench)
    train(bench, student, hooks=("soft-mask:share=0.2",), epochs=5, pairs=fed)
    smaller, gone, of = without_dead(student, bench.images[:1])
    hard = without_channels(bench, put_back(bench), 0.2).requires_grad_(True)
    train(bench, hard, hooks=("keep-zeros",), epochs=5, pairs=fed)
    found = {"soft": bench.accuracy(smaller), "hard": bench.accuracy(hard), "gone": gone / of}
    return {**found, "over_hard": found["soft"] - found["hard"]}


def keep_zeros(bench: Bench, fed: Batches) -> Figures:
    """60 % of the weights gone in three rounds."""
    student = put_back(bench)
    for share in (0.3, 0.45, 0.6):
        prune(bench, student.requires_grad_(True), share)
        train(bench, student, hooks=("keep-zeros",), epochs=1, pairs=fed)
    found = {"dense": bench.accuracy(bench.model()), "after": bench.accuracy(student)}
    return {**found, "drop": found["dense"] - found["after"], "zeros": zeros_of(student)}


def progressive_bits(bench: Bench, fed: Batches) -> Figures:
    """Bits that fall to 2 beside 2 bits from the first step; the first and last layer have 8."""
    return staged(bench, epochs=3, pairs=fed)


#: Of ResNet-20; each with its epochs of all training images.
HOOKS: Final[Mapping[str, tuple[Callable[[Bench, Batches], Figures], int]]] = {
    "soft-mask": (soft_mask, 10),
    "keep-zeros": (keep_zeros, 3),
    "progressive-bits": (progressive_bits, 6),
}


def hooked(name: str, seed: int) -> Row:
    """A hook's row."""
    run, epochs = HOOKS[name]
    bench, fed = Bench("resnet20", seed), batches(load_cifar(SHARED), HOOKS_BATCH, EPOCH)
    start = time.monotonic()
    figures = run(bench, fed)
    took = time.monotonic() - start
    return Row(name, seed, figures, epochs * EPOCH, HOOKS_BATCH, took, **where())


def rows_of(path: Path) -> list[Row]:
    """All that are there."""
    if not path.is_file():
        return []
    return [Row(**json.loads(text)) for text in path.read_text().splitlines()]


def table(rows: list[Row]) -> str:
    """Markdown, a line each row."""
    titles = "row | seed | figures | steps | images a step | s | device"
    lines = [f"| {titles} |", "|---" * (titles.count("|") + 1) + "|"]
    for row in sorted(rows, key=lambda row: (row.name, row.seed)):
        figures = ", ".join(f"{name} {value:.2f}" for name, value in row.figures.items())
        cells: list[Any] = [row.name, row.seed, figures, row.steps, row.batch]
        lines.append(f"| {' | '.join(map(str, [*cells, round(row.seconds), row.device]))} |")
    return "\n".join(lines)


def append(row: Row, path: Path) -> None:
    """To the rows that are there."""
    with path.open("a") as file:
        file.write(json.dumps(asdict(row)) + "\n")


def all_at_once(wanted: list[tuple[str, int]], options: argparse.Namespace) -> None:
    """A process for each."""
    shared = ["--seconds", str(options.seconds), "--out", str(options.out)]
    running = [
        subprocess.Popen(
            [sys.executable, __file__, "--job", name, "--seeds", str(seed), *shared],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for name, seed in wanted
    ]
    ended = [process.wait() for process in running]
    if any(ended):
        raise SystemExit("a row failed; it has said why")


def main() -> None:
    """Make the rows that are asked for and not there, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    every = [*BUDGETS, *HOOKS]
    parser.add_argument("--rows", nargs="+", choices=every, default=every)
    parser.add_argument("--seconds", type=float, default=300, help="of each long training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--out", type=Path, default=Path("build/gpu"))
    parser.add_argument("--make", action="store_true", help="policies and networks, no training")
    parser.add_argument("--judge", action="store_true", help="what is trained, and the table")
    parser.add_argument("--job", choices=every, help="one training, in this process")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "rows.jsonl"
    if options.job in BUDGETS:
        torch.set_num_threads(1)
        longer(options.job, options.seeds[0], options.seconds, options.out)
    elif options.job:
        torch.set_num_threads(1)
        append(hooked(options.job, options.seeds[0]), path)
    else:
        known = {(row.name, row.seed) for row in rows_of(path)}
        wanted = [(name, seed) for seed in options.seeds for name in options.rows]
        wanted = [each for each in wanted if each not in known]
        long = [each for each in wanted if each[0] in BUDGETS]
        if options.make:
            for name, seed in long:
                make(name, seed, options.out)
        elif options.judge:
            for name, seed in long:
                if (options.out / f"{name}-{seed}" / "trained.pt").is_file():
                    append(judged(name, seed, options.out), path)
        else:
            all_at_once(wanted, options)
        print(table(rows_of(path)))


if __name__ == "__main__":
    main()
