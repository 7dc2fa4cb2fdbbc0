"""Train the small vision transformer on CIFAR-10, in legs: call it until it says "trained".

    OMP_NUM_THREADS=1 python tests/benchmarks/train_vit.py --minutes 3

Half of the patches are left out of each image, others each time (PatchDropout, Liu et al., WACV
2023), which takes less than half of the time. The test images are not read, and neither are the
training images that a search scores on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from cifar import SHARED, load_cifar, normalised
from legs import Training, go_on
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from vit import HELD_OUT, WEIGHTS, ViT

#: Legs that one pass over the images is made in.
PARTS = 5
#: Patches of an image that are kept.
KEPT = 32
#: Pixels that an image is moved by at most.
SHIFT = 4


def augmented(images: Tensor, generator: torch.Generator) -> Tensor:
    """Bytes [n, 32, 32, 3] as inputs, each moved by some pixels, and flipped or not."""
    count, size = images.shape[:2]
    padded = F.pad(images, (0, 0, *(SHIFT,) * 4))
    down, right = torch.randint(2 * SHIFT + 1, (2, count, 1), generator=generator)
    rows, columns = down + torch.arange(size), right + torch.arange(size)
    flipped = torch.rand(count, 1, generator=generator) < 0.5
    columns = torch.where(flipped, columns.flip(1), columns)
    numbers = torch.arange(count)[:, None, None]
    return normalised(padded[numbers, rows[:, :, None], columns[:, None]])


def thinned(tokens: Tensor, generator: torch.Generator) -> Tensor:
    """The class token and some of the others, drawn for each image."""
    order = torch.rand(len(tokens), tokens.shape[1] - 1, generator=generator).argsort(1)
    kept = 1 + order[:, :KEPT, None].expand(-1, -1, tokens.shape[2])
    return torch.cat([tokens[:, :1], tokens.gather(1, kept)], 1)


def main() -> None:
    """Train as long as is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="file of the weights")
    parser.add_argument("--minutes", type=float, default=60, help="begin no leg after these")
    parser.add_argument("--legs", type=int, default=10, help="five are an epoch")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=2e-3, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    data, model = load_cifar(SHARED), ViT()
    images, labels = data.train[:-HELD_OUT], data.train_labels[:-HELD_OUT]
    steps = len(labels) // PARTS // args.batch
    inner = [each for each in model.blocks.parameters() if each.dim() == 2]
    others = [each for each in model.parameters() if all(each is not one for one in inner)]
    optimizers = (
        torch.optim.Muon(inner, args.rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, args.rate, weight_decay=0.05, fused=True),
    )
    training = Training(model.train(), optimizers, args.legs, steps, args.out)

    def run_leg(leg: int) -> float:
        epoch, part = divmod(leg, PARTS)
        shuffled = torch.Generator().manual_seed(1_000 * args.seed + epoch)
        order = torch.randperm(len(labels), generator=shuffled)[part * steps * args.batch :]
        drawn = torch.Generator().manual_seed(1_000_000 + 1_000 * args.seed + leg)
        losses = 0.0
        for step, chosen in enumerate(order[: steps * args.batch].split(args.batch)):
            # The fused attention of bfloat16 is many times slower backwards on a processor.
            with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
                tokens = model.embed(augmented(images[chosen], drawn))
                logits = model.classify(thinned(tokens, drawn))
            loss = F.cross_entropy(logits.float(), labels[chosen], label_smoothing=0.1)
            training.step(leg, step, loss)
            losses += loss.item()
        return losses / steps

    if go_on(training, run_leg, args.minutes):
        print(f"trained: {args.out}", flush=True)


if __name__ == "__main__":
    main()
