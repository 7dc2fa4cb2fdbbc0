"""Train the embedded default on Fashion-MNIST and write its weights and images into the package.

    apt-get install dataset-fashion-mnist
    OMP_NUM_THREADS=1 python search/recipes/train_example.py

3,000 training images are held out first (1,000 for calibration, 2,000 for validation) and are never
trained on; the 10,000 test images are only used for the accuracy that is reported at the end.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from automl.errors import DataError
from automl.example.data import IMAGES, normalise
from automl.example.model import network

CALIBRATION, VALIDATION, TEST = 1_000, 2_000, 3_000
SHIFT = 2  # pixels in each direction
#: Input sizes and how often each is drawn: a search may choose a lower resolution later.
SIZES, SIZE_ODDS = (28, 24, 20), (0.5, 0.25, 0.25)
#: Epochs at the end at full size only, so that the batch norms' statistics are of full size.
FULL_SIZE_EPOCHS = 1

#: Images uint8 [n, 28, 28] and labels uint8 [n].
Examples = tuple[NDArray[np.uint8], NDArray[np.uint8]]
Split = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Array of a gzipped IDX file of bytes; images [n, 28, 28] or labels [n]."""
    if not path.is_file():
        raise DataError(f"{path}: not found (on Debian: apt-get install dataset-fashion-mnist)")
    raw = gzip.decompress(path.read_bytes())
    if raw[:3] != b"\0\0\x08":
        raise DataError(
            f"{path}: an IDX file of bytes starts with 00 00 08, not {raw[:3].hex(' ')}"
        )
    start = 4 + 4 * raw[3]
    shape = np.frombuffer(raw[4:start], dtype=">u4").astype(int)
    return np.frombuffer(bytearray(raw[start:]), dtype=np.uint8).reshape(shape)


def split(count: int, seed: int) -> Split:
    """Places in the training set of the calibration, validation and training images, disjoint."""
    order = np.random.default_rng(seed).permutation(count).astype(np.int32)
    held_out = CALIBRATION + VALIDATION
    return order[:CALIBRATION], order[CALIBRATION:held_out], order[held_out:]


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each of the images uint8 [n, 28, 28] shifted by up to `SHIFT` pixels, and flipped or not."""
    count, size = images.shape[:2]
    padded = functional.pad(images, (SHIFT,) * 4)
    down, right = torch.randint(2 * SHIFT + 1, (2, count, 1), generator=generator)
    rows, columns = down + torch.arange(size), right + torch.arange(size)
    flipped = torch.rand(count, 1, generator=generator) < 0.5
    columns = torch.where(flipped, columns.flip(1), columns)
    return padded[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


def resized(inputs: Tensor, size: int) -> Tensor:
    """Inputs [n, 1, h, w] at another size."""
    if inputs.shape[-1] == size:
        return inputs
    return functional.interpolate(
        inputs, (size, size), mode="bilinear", align_corners=False, antialias=True
    )


def train(model: nn.Module, examples: Examples, args: argparse.Namespace) -> int:
    """Train in place: SGD with Nesterov momentum, one cycle of the rate. Returns the steps made."""
    generator = torch.Generator().manual_seed(args.seed)
    pixels, targets = torch.from_numpy(examples[0]), torch.from_numpy(examples[1]).long()
    an_epoch = len(pixels) // args.batch
    total = an_epoch * args.epochs
    optimizer = torch.optim.SGD(
        model.parameters(), lr=args.rate, momentum=0.9, nesterov=True, weight_decay=args.decay
    )
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.rate, total_steps=total)
    low = torch.autocast("cpu", torch.bfloat16) if args.precision == "bf16" else nullcontext()
    started, losses, order = time.perf_counter(), 0.0, torch.empty(0)
    steps: int = min(total, args.limit) if args.limit else total
    model.train()
    for step in range(steps):
        epoch, place = divmod(step, an_epoch)
        if place == 0:
            order, losses = torch.randperm(len(pixels), generator=generator), 0.0
        chosen = order[place * args.batch : (place + 1) * args.batch]
        size = SIZES[int(torch.multinomial(torch.tensor(SIZE_ODDS), 1, generator=generator))]
        if epoch >= args.epochs - FULL_SIZE_EPOCHS:
            size = SIZES[0]
        inputs = resized(normalise(augment(pixels[chosen], generator)), size)
        with low:
            logits = model(inputs.contiguous(memory_format=torch.channels_last))
        loss = functional.cross_entropy(
            logits.float(), targets[chosen], label_smoothing=args.smoothing
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        rates.step()
        losses += loss.item()
        if place == an_epoch - 1 or step == steps - 1:
            spent = time.perf_counter() - started
            print(f"epoch {epoch + 1}: loss {losses / (place + 1):.4f}, {spent:.0f} s", flush=True)
    return steps


@torch.inference_mode()
def accuracy(model: nn.Module, examples: Examples, size: int = 28) -> float:
    """Share of the images that are classified rightly, in fp32, at an input size."""
    model.eval()
    images, labels = examples
    right = 0
    for start in range(0, len(labels), 250):
        part = slice(start, start + 250)
        classes = model(resized(normalise(images[part]), size)).argmax(1).numpy()
        right += int((classes == labels[part]).sum())
    return right / len(labels)


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    os.replace(partial, path)


def saved(save: Callable[[io.BytesIO], object]) -> bytes:
    """What `save` writes. Through memory: torch.save would put the file's name into the archive."""
    buffer = io.BytesIO()
    save(buffer)
    return buffer.getvalue()


def deliver(
    folder: Path, model: nn.Module, packed: dict[str, NDArray[np.generic]], report: object
) -> None:
    """Write weights, images, the report and the checksums of the first two."""
    weights = {
        name: value.contiguous(memory_format=torch.contiguous_format)
        for name, value in model.state_dict().items()
    }
    contents = {
        "images.npz": saved(lambda buffer: np.savez_compressed(buffer, **packed)),  # type: ignore[arg-type]
        "weights.pt": saved(lambda buffer: torch.save(weights, buffer)),
    }
    folder.mkdir(parents=True, exist_ok=True)
    sums = [f"{hashlib.sha256(raw).hexdigest()}  {name}\n" for name, raw in contents.items()]
    for name, content in contents.items():
        write(folder / name, content)
    write(folder / "SHA256SUMS", "".join(sums).encode())
    write(folder / "training.json", (json.dumps(report, indent=2) + "\n").encode())


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The settings; the defaults are those of the shipped weights."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    data = Path("/usr/share/datasets/fashion-mnist")
    parser.add_argument("--data", type=Path, default=data, help="folder of the four idx.gz files")
    parser.add_argument("--out", type=Path, default=IMAGES.parent, help="folder to write into")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=0.1, help="highest learning rate")
    parser.add_argument("--decay", type=float, default=5e-4, help="weight decay")
    parser.add_argument("--smoothing", type=float, default=0.05, help="label smoothing")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--limit", type=int, default=0, help="stop after so many steps (0: never)")
    return parser.parse_args(arguments)


def read(folder: Path, part: str) -> Examples:
    """Images [n, 28, 28] and labels [n] of "train" or "t10k"."""
    images = read_idx(folder / f"{part}-images-idx3-ubyte.gz")
    return images, read_idx(folder / f"{part}-labels-idx1-ubyte.gz")


def scores(model: nn.Module, validation: Examples, test: Examples) -> dict[str, float]:
    """Accuracies to report, as shares."""
    return {
        "validation": accuracy(model, validation),
        **{f"validation_at_{size}": accuracy(model, validation, size) for size in SIZES[1:]},
        "test": accuracy(model, test),
        "test_shipped": accuracy(model, (test[0][:TEST], test[1][:TEST])),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Read, hold out, train, score, write."""
    args = parse(arguments)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(args.seed)
    (images, labels), test = read(args.data, "train"), read(args.data, "t10k")
    calibration, validation, training = split(len(labels), args.seed)
    model = network().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    wall, cpu = time.perf_counter(), time.process_time()
    steps = train(model, (images[training], labels[training]), args)
    report = {
        "settings": {key: value for key, value in vars(args).items() if key not in ("data", "out")},
        "torch": torch.__version__,
        "steps": steps,
        "wall_seconds": round(time.perf_counter() - wall),
        "cpu_seconds": round(time.process_time() - cpu),
        "accuracy": scores(
            model.to(memory_format=torch.contiguous_format),
            (images[validation], labels[validation]),
            test,
        ),
    }
    packed: dict[str, NDArray[np.generic]] = {
        "calibration_images": images[calibration],
        "calibration_labels": labels[calibration],
        "calibration_places": calibration,
        "validation_images": images[validation],
        "validation_labels": labels[validation],
        "validation_places": validation,
        "test_images": test[0][:TEST],
        "test_labels": test[1][:TEST],
    }
    deliver(args.out, model, packed, report)
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
