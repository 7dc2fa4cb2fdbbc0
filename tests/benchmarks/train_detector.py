"""Train the small detector on drawn scenes, in legs: call it until it says "trained".

    OMP_NUM_THREADS=1 python tests/benchmarks/train_detector.py --minutes 3

Each leg draws its own scenes, of no image that a search scores or tests on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from detector import STRIDES, WEIGHTS, Detector, decoded
from legs import Training, go_on
from scenes import CLASSES, Targets, scenes, stored
from torch import Tensor
from torch.nn import functional as F

#: Objects of this longest side and less are found at the fine scale, larger ones at the coarse.
FINE = 40
#: A place is of an object whose middle is nearer than so many strides.
NEAR = 1.5


def wanted(targets: list[Targets], size: int) -> tuple[Tensor, Tensor, Tensor]:
    """For all places of all scales: class (or the number of classes), box, whether an object's.

    int64 [n, places], float [n, places, 4], bool [n, places]. Of two objects the smaller counts.
    """
    x, y, strides = _places(size)
    classes = torch.full((len(targets), len(x)), len(CLASSES))
    boxes = torch.zeros(len(targets), len(x), 4)
    for row, target in enumerate(targets):
        sides = target["boxes"][:, 2:] - target["boxes"][:, :2]
        for place in sides.prod(1).argsort(descending=True).tolist():
            box = target["boxes"][place]
            stride = STRIDES[0] if float(sides[place].max()) <= FINE else STRIDES[1]
            middle = (box[:2] + box[2:]) / 2
            near = torch.maximum((x - middle[0]).abs(), (y - middle[1]).abs()) < NEAR * stride
            within = (x > box[0]) & (x < box[2]) & (y > box[1]) & (y < box[3])
            chosen = near & within & (strides == stride)
            classes[row, chosen], boxes[row, chosen] = target["labels"][place], box
    return classes, boxes, classes < len(CLASSES)


def _places(size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Where each place is in pixels, and its stride."""
    columns, rows, strides = [], [], []
    for stride in STRIDES:
        steps = (torch.arange(size // stride) + 0.5) * stride
        rows.append(steps.repeat_interleave(len(steps)))
        columns.append(steps.repeat(len(steps)))
        strides.append(torch.full((len(steps) ** 2,), stride))
    return torch.cat(columns), torch.cat(rows), torch.cat(strides)


def enclosed(found: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """Overlap and generalised overlap (Rezatofighi et al., CVPR 2019) of boxes [k, 4], by rows."""
    inner = torch.minimum(found[:, 2:], true[:, 2:]) - torch.maximum(found[:, :2], true[:, :2])
    outer = torch.maximum(found[:, 2:], true[:, 2:]) - torch.minimum(found[:, :2], true[:, :2])
    both, hull = inner.clamp_min(0).prod(1), outer.prod(1).clamp_min(1e-6)
    either = sum((each[:, 2:] - each[:, :2]).prod(1) for each in (found, true)) - both
    overlap = both / either
    return overlap, overlap - (hull - either) / hull


def loss_of(maps: list[Tensor], targets: list[Targets], size: int) -> Tensor:
    """Quality focal loss (Li et al., NeurIPS 2020) of the classes and GIoU of the boxes."""
    found = decoded(maps)
    logits = torch.cat([each[:, 4:].flatten(2) for each in maps], 2)
    classes, boxes, positive = wanted(targets, size)
    overlap, generalised = enclosed(found[:, :4].transpose(1, 2)[positive], boxes[positive])
    quality = torch.zeros_like(logits).transpose(1, 2)
    quality[(*positive.nonzero(as_tuple=True), classes[positive])] = overlap.detach()
    quality = quality.transpose(1, 2)
    off = (logits.sigmoid() - quality).abs().square()
    entropy = F.binary_cross_entropy_with_logits(logits, quality, reduction="none")
    count = positive.sum().clamp_min(1)
    return (off.detach() * entropy).sum() / count + 2 * (1 - generalised).mean()


def main() -> None:
    """Train as long as is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="file of the weights")
    parser.add_argument("--minutes", type=float, default=60, help="begin no leg after these")
    parser.add_argument("--legs", type=int, default=16)
    parser.add_argument("--scenes", type=int, default=2_400, help="drawn for a leg")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=2e-3, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    parts, model = stored("train"), Detector().to(memory_format=torch.channels_last)
    steps = args.scenes // args.batch
    optimizer = torch.optim.AdamW(model.parameters(), args.rate, weight_decay=0.02, fused=True)
    training = Training(model.train(), (optimizer,), args.legs, steps, args.out)

    def run_leg(leg: int) -> float:
        images, targets = scenes(parts, args.scenes, 1_000_000 + 1_000 * args.seed + leg)
        losses = 0.0
        for step in range(steps):
            chosen = slice(step * args.batch, (step + 1) * args.batch)
            here = images[chosen].float() / 255
            with torch.autocast("cpu", torch.bfloat16):
                maps = model(here.contiguous(memory_format=torch.channels_last))
            loss = loss_of([each.float() for each in maps], targets[chosen], 128)
            training.step(leg, step, loss)
            losses += loss.item()
        return losses / steps

    if go_on(training, run_leg, args.minutes):
        print(f"trained: {args.out}", flush=True)


if __name__ == "__main__":
    main()
