"""Train the small flowers network of the agents' benchmark, about ten minutes on one core.

    OMP_NUM_THREADS=1 python tests/benchmarks/train_flowers.py --shared ../shared --out build

Batches come at the input sizes that a search may choose from. What is held out of the train split
is only used for the accuracies that are printed at the end; the val split is not read.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import torch
from cifar import normalised
from flowers import SIZES, Flowers, FlowersNet, load_flowers, network_inputs
from torch import Tensor, nn
from torch.nn import functional as F

#: How often a batch is of the full size, and epochs at the end that all are.
FULL, FULL_EPOCHS = 0.5, 2


def augmented(images: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Crops [n, 3, size, size] at a random place and scale, flipped or not, brighter or darker."""
    count = len(images)
    scale = 0.6 + 0.4 * torch.rand(count, generator=generator)
    shift = (2 * torch.rand(count, 2, generator=generator) - 1) * (1 - scale)[:, None]
    flip = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
    light = 0.8 + 0.4 * torch.rand(count, 1, 1, 1, generator=generator)
    turn = torch.zeros(count, 2, 3)
    turn[:, 0, 0], turn[:, 1, 1], turn[:, :, 2] = scale * flip, scale, shift
    grid = F.affine_grid(turn, [count, 3, size, size], align_corners=False)
    # Averaged to the output's scale first: grid_sample reads four pixels and would alias.
    smooth = F.avg_pool2d(images, 3, 1, 1)
    return light * F.grid_sample(smooth, grid, padding_mode="reflection", align_corners=False)


def train(model: nn.Module, data: Flowers, args: argparse.Namespace) -> None:
    """SGD with Nesterov momentum, one cycle of the rate."""
    generator = torch.Generator().manual_seed(args.seed)
    an_epoch = len(data.train) // args.batch
    optimizer = torch.optim.SGD(
        model.parameters(), args.rate, momentum=0.9, nesterov=True, weight_decay=args.decay
    )
    total = an_epoch * args.epochs
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.rate, total_steps=total)
    inputs, started = normalised(data.train), time.perf_counter()
    model.train()
    for epoch in range(args.epochs):
        order, losses = torch.randperm(len(inputs), generator=generator), 0.0
        for chosen in order[: an_epoch * args.batch].split(args.batch):
            size = SIZES[-1]
            if epoch < args.epochs - FULL_EPOCHS and torch.rand((), generator=generator) > FULL:
                size = SIZES[int(torch.randint(len(SIZES), (), generator=generator))]
            logits = model(augmented(inputs[chosen], size, generator))
            loss = F.cross_entropy(logits, data.train_labels[chosen], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rates.step()
            losses += loss.item()
        spent = time.perf_counter() - started
        print(f"epoch {epoch + 1}: loss {losses / an_epoch:.4f}, {spent:.0f} s", flush=True)


@torch.inference_mode()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor, size: int) -> float:
    """Percent right at an input size."""
    model.eval()
    pairs = zip(images.split(100), labels.split(100), strict=True)
    right = sum(int((model(network_inputs(x, size)).argmax(1) == y).sum()) for x, y in pairs)
    return 100 * right / len(labels)


def main() -> None:
    """Train, print accuracies on what was held out, write the weights."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--out", type=Path, default=Path("build"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=45)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=0.1, help="highest learning rate")
    parser.add_argument("--decay", type=float, default=1e-3, help="weight decay")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    data, model = load_flowers(args.shared), FlowersNet()
    train(model, data, args)
    for size in SIZES:
        found = accuracy(model, data.held_out, data.held_out_labels, size)
        print(f"{size}: {found:.1f} % of {len(data.held_out)} held out", flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    partial = args.out / ".flowers.pt"
    torch.save(model.state_dict(), partial)
    os.replace(partial, args.out / "flowers.pt")


if __name__ == "__main__":
    main()
