"""What forms of layers are worth on ResNets for CIFAR-10, without training.

    python tests/benchmarks/bench_forms.py errors     # low rank with data against plain SVD
    python tests/benchmarks/bench_forms.py searches   # searched with forms and without

`errors` fits one convolution of ResNet-20 at a time, and looks at the logits on training images
that no fit has seen: mean squared difference, relative to the variance of the dense logits.
`searches` runs the plain command, as bench_plain does, at a share of the target's latency with the
choices of each row; candidates are chosen on validation, and test images judged once a row.
Further flags are passed on to the command.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterable
from statistics import mean
from typing import Any

import torch
from bench_plain import described, search
from cifar import SHARED, load_cifar, load_resnet, normalised
from torch import Tensor, nn

from automl.compression import CompressionConfig, Compressor, compression_kind
from automl.network import trace_network
from automl.space import kind_of

#: Choices of the rows.
USUAL = "channels,blocks,resolution"
ROWS = {
    "without forms": USUAL,
    "rank": f"{USUAL},rank",
    "rank, taps, separable": f"{USUAL},rank,taps,separable",
}
FITTED, HELD_OUT = 2000, 1000


def errors(shares: Iterable[float]) -> None:
    """Print the error of each form a share of the channels, and those of data-aware over plain."""
    data = load_cifar(SHARED)
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))
    fit = normalised(data.train[order[:FITTED]])
    held_out = normalised(data.train[order[FITTED : FITTED + HELD_OUT]])
    traced = trace_network(load_resnet(SHARED, 20), (1, 3, 32, 32), resolutions=())
    made = Compressor(traced, fit, {}, config=CompressionConfig())
    kind, dense = compression_kind(kind_of("form")), logits(traced.model, held_out)
    names = [
        name
        for name, module in traced.model.named_modules()
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3) and module.in_channels > 3
    ]
    for share in shares:
        found: dict[str, list[float]] = {}
        for name in names:
            layer: Any = traced.model.get_submodule(name)
            rank = max(1, round(share * min(layer.in_channels, layer.out_channels)))
            for text in (f"rank-spatial:{rank}", f"rank-spatial-plain:{rank}"):
                model = copy.deepcopy(traced.model)
                moments = made.joint.moments_of(name)
                kind.finish(kind.parse(text), model.get_submodule(name), moments)
                gap = (logits(model, held_out) - dense).square().mean() / dense.var(0).mean()
                found.setdefault(text.partition(":")[0], []).append(float(gap))
        means = {form: mean(values) for form, values in found.items()}
        ratio = means["rank-spatial"] / means["rank-spatial-plain"]
        shown = ", ".join(f"{form} {value:.5f}" for form, value in means.items())
        print(f"rank {share:g} of the channels, {len(names)} layers: {shown}, x {ratio:.3f}")


def logits(model: nn.Module, images: Tensor) -> Tensor:
    """Of all images."""
    with torch.no_grad():
        return torch.cat([model(some) for some in images.split(250)])


def main() -> None:
    """Print one line a row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("errors", "searches"))
    parser.add_argument("--shares", nargs="+", type=float, default=[0.5, 0.25])
    parser.add_argument("--networks", nargs="+", default=["resnet20"])
    parser.add_argument("--target", default="cpu")
    parser.add_argument("--budgets", nargs="+", default=["50%"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS))
    options, flags = parser.parse_known_args()
    if options.what == "errors":
        return errors(options.shares)
    for network in options.networks:
        for budget in options.budgets:
            for row in options.rows:
                asked = ["--precisions", "float", "--choices", ROWS[row], *flags]
                found = [
                    search(network, options.target, budget, seed, asked) for seed in options.seeds
                ]
                means = {key: mean(each[key] for each in found) for key in found[0]}
                print(f"{network} {budget} {row}: {described(means)}", flush=True)
    return None


if __name__ == "__main__":
    main()
