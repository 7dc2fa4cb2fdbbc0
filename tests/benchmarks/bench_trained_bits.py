"""Bits that are trained: ResNet-20 on CIFAR-10, all 10,000 test images once a row.

Weights and activations of 4, 3 and 2 bits by LSQ, PACT and DoReFa, the first layer and the last of
8 bits; weights of one bit by BinaryConnect, XNOR-Net and binarized networks, the first and the last
layer floats; Deep Compression (`clustered`, all layers) with its shared values trained. Each begins
with the post-training network of 1,024 training images and trains on all 50,000, mirrored and
shifted by up to four pixels, in batches of 125 towards the dense network (`kd`): SGD, Nesterov
momentum of 0.9, a cosine from the rate. The last weights are judged. Rows of the same bits differ
in nothing but the quantizer.

    python tests/benchmarks/bench_trained_bits.py                       # all rows
    python tests/benchmarks/bench_trained_bits.py --rows w2a2 --quantizers lsq pact --steps 600
    python tests/benchmarks/bench_trained_bits.py --table

Rows are appended to build/recovery/bits.jsonl; those that are there are not run again. The networks
before training are kept beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from bench_quantize import SETTINGS, Bench
from bench_recovery import BATCH, shifted
from cifar import SHARED, accuracy, load_cifar, load_resnet, normalised
from torch import Tensor, nn

from automl.compression import DenseForm, QuantizedModel, form_of
from automl.pipeline.writing import save_packed
from automl.policy.policy import Bits, Policy
from automl.recovery import (
    TRAINED_QUANTIZERS,
    FormedStudent,
    Objective,
    QuantizedStudent,
    RecoveryData,
    RecoveryRecipe,
    recover,
)

ENDS, EIGHT = ("conv1", "linear"), Bits(8, 8)
#: Bits of all layers but the ends, and by what they are trained.
ROWS = {
    "w4a4": (Bits(4, 4), ("lsq", "pact", "dorefa")),
    "w3a3": (Bits(3, 3), ("lsq", "pact", "dorefa")),
    "w2a2": (Bits(2, 2), ("lsq", "pact", "dorefa")),
    "w1": (Bits(1, 32), ("binary", "xnor", "bnn")),
    "w3": (Bits(3, 32), ("lsq",)),
    "w2": (Bits(2, 32), ("ttq", "ternary", "lr-net", "lsq")),
    "clustered:50-4": (Bits(), ("centroids",)),
    "clustered:25-3": (Bits(), ("centroids",)),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One training. Accuracies in percent of all test images.

    Attributes:
        bits, quantizer, steps, rate, seed: Which row it is.
        dense, before, after: Of the dense network, the post-training one, and that trained.
        share: Bytes of the packed, entropy-coded file, of those of the floats.
        cpu: CPU seconds of the training.
        load, ended: Of the machine when the row began; when it was done.
    """

    bits: str
    quantizer: str
    steps: int
    rate: float
    seed: int
    dense: float
    before: float
    after: float
    share: float
    cpu: float
    load: float
    ended: str

    @property
    def key(self) -> tuple[str, str, int, float, int]:
        """What is not run twice."""
        return (self.bits, self.quantizer, self.steps, self.rate, self.seed)


@dataclass(frozen=True, slots=True)
class Batches:
    """So many batches of training images, mirrored and shifted at random.

    Attributes:
        images: uint8 [n, 32, 32, 3].
        labels: int64 [n].
        steps: Batches of one pass.
    """

    images: Tensor
    labels: Tensor
    steps: int

    def __len__(self) -> int:
        """Batches of one pass."""
        return self.steps

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Drawn by torch's generator."""
        for _ in range(self.steps):
            some = torch.randint(len(self.images), (BATCH,))
            yield shifted(normalised(self.images[some])), self.labels[some].long()


def made(bench: Bench, name: str, folder: Path) -> nn.Module:
    """The post-training network, made once a seed."""
    path = folder / f"{name.replace(':', '-')}-{bench.seed}.pt"
    if path.is_file():
        found: nn.Module = torch.load(path, weights_only=False)  # this bench wrote it
        return found
    if ":" in name:
        policy = Policy(further={"form": dict.fromkeys(bench.layers, name)})
        model = bench.make(policy, None, SETTINGS)
        torch.save(model, path)
        return model
    bits = dict.fromkeys(bench.layers, ROWS[name][0])
    for end in ENDS:
        if bits[end].activations < 32:
            bits[end] = EIGHT
        else:
            del bits[end]
    model = bench.make(Policy(bits=bits), None, SETTINGS)
    torch.save(model, path)
    return model


def size(model: nn.Module) -> int:
    """Bytes of the packed file, entropy-coded."""
    with TemporaryDirectory() as folder:
        return save_packed(model, Path(folder) / "weights.bin", huffman=True)


def trained(name: str, quantizer: str, steps: int, rate: float, seed: int, out: Path) -> Row:
    """One row."""
    load = os.getloadavg()[0]
    data, dense = load_cifar(SHARED), load_resnet(SHARED, 20)
    bench = Bench(data, dense, seed)
    before = made(bench, name, out)
    student = student_of(bench, name, quantizer, before)
    recipe = RecoveryRecipe(epochs=1, learning_rate=rate)
    objective = Objective(student, (bench.traced.model,), recipe.made_terms())
    batches = Batches(data.train, data.train_labels, steps)
    start = time.process_time()
    recover(objective, RecoveryData(batches, seed=seed), recipe)
    cpu = time.process_time() - start
    after = student.frozen()
    floats = 4 * sum(each.numel() for each in bench.traced.model.parameters())

    def judged(model: nn.Module) -> float:
        return accuracy(model, data.test, data.test_labels)

    return Row(
        bits=name,
        quantizer=quantizer,
        steps=steps,
        rate=rate,
        seed=seed,
        dense=judged(bench.traced.model),
        before=judged(before),
        after=judged(after),
        share=size(after) / floats,
        cpu=cpu,
        load=load,
        ended=f"{datetime.now():%Y-%m-%d %H:%M}",
    )


def student_of(
    bench: Bench, name: str, quantizer: str, before: nn.Module
) -> QuantizedStudent | FormedStudent:
    """What is trained."""
    dense = bench.traced.model
    if isinstance(before, QuantizedModel):
        built = TRAINED_QUANTIZERS.build(quantizer)
        images = bench.images.split(256)
        return QuantizedStudent(before, built, images, dense=dense, seed=bench.seed)
    form, _, parameter = name.partition(":")
    found = form_of(form)
    assert isinstance(found, DenseForm)
    return FormedStudent(before, dict.fromkeys(bench.layers, (found, found.read(parameter))))


def rows_of(path: Path) -> list[Row]:
    """All that are there."""
    if not path.is_file():
        return []
    return [Row(**json.loads(text)) for text in path.read_text().splitlines()]


def table(rows: list[Row]) -> str:
    """Markdown, a line each row."""
    titles = "bits | quantizer | steps | rate | seed | dense | before | trained | bytes | CPU s"
    lines = [f"| {titles} |", "|---" * (titles.count("|") + 1) + "|"]
    for row in sorted(rows, key=lambda row: (row.bits, row.steps, row.quantizer, row.seed)):
        figures = [f"{each:.2f}" for each in (row.dense, row.before, row.after)]
        cells: list[Any] = [row.bits, row.quantizer, row.steps, f"{row.rate:g}", row.seed]
        cells += [*figures, f"{100 * row.share:.1f} %", f"{row.cpu:.0f}"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> None:
    """Make the rows that are asked for and not there, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=[*ROWS])
    parser.add_argument("--quantizers", nargs="+", default=None, help="those of the rows")
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--rate", type=float, default=0.01, help="learning rate")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=Path("build/recovery"))
    parser.add_argument("--table", action="store_true", help="only print it")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "bits.jsonl"
    for seed in [] if options.table else options.seeds:
        for name in options.rows:
            for quantizer in options.quantizers or ROWS[name][1]:
                key = (name, quantizer, options.steps, options.rate, seed)
                if key in {row.key for row in rows_of(path)}:
                    continue
                row = trained(*key, options.out)
                with path.open("a") as file:
                    file.write(json.dumps(asdict(row)) + "\n")
                print(row, flush=True)
    print(table(rows_of(path)))


if __name__ == "__main__":
    main()
