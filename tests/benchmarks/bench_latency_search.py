"""ResNet-56 at half of its measured latency on this machine, beside a search that counts MACs.

First, what the clock says of six ways to thin the network out (interleaved, ONNX Runtime, one
thread, batch 1): multiply-accumulates are not latency. Then the default search at 50 % of the
measured latency, and the same search told to limit multiply-accumulates instead, tightened until
its network is as quick on the clock. Both may leave blocks out; both are finished alike; no
training; all 10,000 test images.

    python tests/benchmarks/bench_latency_search.py --shared ../shared
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from cifar import Cifar, accuracy, load_cifar, load_resnet, normalised
from torch import nn

from automl.agents.registry import make_agent
from automl.cost import Budget, Limit
from automl.export.onnx import onnx_bytes
from automl.network.surgery import smaller
from automl.network.traced_model import TracedModel, trace_network
from automl.pipeline import search
from automl.pipeline.context import make_context, price_request
from automl.pipeline.networks import network_of
from automl.pipeline.pricing import measure_here
from automl.pipeline.requests import SearchRequest, Task, ignore
from automl.policy.policy import Policy
from automl.userdata.data import Batches, Data
from automl.userdata.scores import top1_accuracy


def variants(traced: TracedModel) -> dict[str, nn.Module]:
    """Six ways to thin out the blocks' inner channels."""
    groups = {g.name: g for g in traced.network.groups if g.name.endswith(".conv1")}

    def narrowed(share: float, less: int = 0) -> nn.Module:
        kept = {
            name: torch.arange(max(1, round(group.channels * share) - less))
            for name, group in groups.items()
        }
        return smaller(traced.model, traced.network.groups, kept)

    every_second = frozenset(block.name for block in traced.network.blocks[1::2])
    return {
        "dense (16, 32, 64)": traced.model,
        "one channel less in every block": narrowed(1.0, 1),
        "three quarters": narrowed(0.75),
        "half": narrowed(0.5),
        "a quarter": narrowed(0.25),
        "every second block left out": smaller(
            traced.model, traced.network.groups, {}, every_second
        ),
    }


def clock(models: dict[str, nn.Module], seconds: float = 30.0) -> dict[str, float]:
    """Seconds of each network, interleaved in one run."""
    shape = (1, 3, 32, 32)
    return measure_here({n: onnx_bytes(m, shape) for n, m in models.items()}, 1, seconds)


def macs_of(model: nn.Module) -> int:
    """Multiply-accumulates of the cut network."""
    return sum(
        layer.macs for layer in trace_network(model, (1, 3, 32, 32), resolutions=()).network.layers
    )


def thin_table(traced: TracedModel) -> dict[str, dict[str, float]]:
    """Shares of the dense network's MACs and latency."""
    models = variants(traced)
    seconds = clock(models)
    dense, whole = seconds["dense (16, 32, 64)"], macs_of(traced.model)
    print(f"{'inner widths':34}{'MACs':>8}{'latency':>9}   (dense: {dense * 1e3:.2f} ms)")
    table = {}
    for name, model in models.items():
        table[name] = {"macs": macs_of(model) / whole, "latency": seconds[name] / dense}
        print(f"{name:34}{table[name]['macs']:8.0%}{table[name]['latency']:9.2f}", flush=True)
    return table


def draw(table: dict[str, dict[str, float]], path: Path) -> None:
    """The table as bars: work in grey, time in colour, the dense network's at 1."""
    height, left, scale = 34 * len(table) + 40, 230, 300
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 {height}" '
        'font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{left}" y="18" fill="#888">multiply-accumulates</text>',
        f'<text x="{left + 150}" y="18" fill="#c2410c">measured latency (dense = 1)</text>',
    ]
    for row, (name, shares) in enumerate(table.items()):
        top = 32 + 34 * row
        parts.append(f'<text x="{left - 8}" y="{top + 17}" text-anchor="end">{name}</text>')
        for key, color, y in (("macs", "#aaa", top), ("latency", "#c2410c", top + 13)):
            length = scale * shares[key] / 1.4
            parts.append(
                f'<rect x="{left}" y="{y}" width="{length:.0f}" height="11" fill="{color}"/>'
                f'<text x="{left + length + 5:.0f}" y="{y + 10}" font-size="11">'
                f"{shares[key]:.2f}</text>"
            )
    line = left + scale / 1.4
    parts.append(f'<path d="M{line:.0f} 26V{height - 8}" stroke="#333" stroke-dasharray="3 3"/>')
    path.write_text("\n".join([*parts, "</svg>"]) + "\n", encoding="utf-8")


def subject_of(data: Cifar, model: nn.Module, seed: int) -> Task:
    """The network with calibration and validation images from the training set."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randperm(len(data.train), generator=generator)
    calibration = _batches(data.train[drawn[:2000]], data.train_labels[drawn[:2000]])
    validation = _batches(data.train[drawn[2000:4000]], data.train_labels[drawn[2000:4000]])
    parts = Data(calibration, validation)
    return Task(
        model, parts, top1_accuracy, (1, 3, 32, 32), "ResNet-56", "CIFAR-10", "top-1 accuracy"
    )


def _batches(images: torch.Tensor, labels: torch.Tensor) -> Batches:
    pairs = zip(images.split(250), labels.split(250), strict=True)
    return Batches(tuple((normalised(part), truth) for part, truth in pairs))


def macs_search(request: SearchRequest, limit: float) -> tuple[nn.Module, Policy, float]:
    """The network of a MACs budget, tightened until it takes at most `limit` of dense latency."""
    request = replace(request, budget=("99%MACs",), resolutions=())
    network = price_request(request, ignore)
    context = make_context(network, request, ignore)
    compressor, dense = context.compressor, network.costs.dense.macs
    share, step = 0.55, 0.05
    while True:
        budget = Budget((Limit("macs", share * dense),))
        policy = make_agent("lagrangian", context.problem(budget), 0).ask(1)[0]
        model, shape = network_of(network.traced, policy)
        models = {"dense": onnx_bytes(network.traced.model, shape), "cut": onnx_bytes(model, shape)}
        times = measure_here(models, 1, 6.0)
        found = times["cut"] / times["dense"]
        print(f"  MACs {share:.0%}: {found:.2f} of the dense latency", flush=True)
        if found <= limit or share <= step:
            return compressor.make(policy), policy, found
        share -= step


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only-table", action="store_true")
    parser.add_argument("--svg", type=Path, default=None, help="draw the first table")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    data, model = load_cifar(options.shared), load_resnet(options.shared, 56)
    traced = trace_network(model, (1, 3, 32, 32), resolutions=())
    thinned = thin_table(traced)
    if options.svg:
        draw(thinned, options.svg)
    found: dict[str, object] = {"thinned": thinned}
    if not options.only_table:
        found |= compare(data, model, traced, options.seed)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


def compare(data: Cifar, model: nn.Module, traced: TracedModel, seed: int) -> dict[str, object]:
    """The default search beside the MACs-only search at the same measured latency."""
    with tempfile.TemporaryDirectory() as folder:
        request = SearchRequest(
            task=subject_of(data, model, seed),
            target="cpu",
            budget=("50%",),
            out=Path(folder),
            seed=seed,
            resolutions=(),
            precisions=("float",),
        )
        result = search(request, ignore)
        state = torch.load(Path(folder) / "model.pt", weights_only=True)
        ours, _ = network_of(traced, result.policy.policy)
        ours.load_state_dict(state)
        assert result.compressed.measured_seconds is not None
        assert result.dense.measured_seconds is not None
        share = result.compressed.measured_seconds / result.dense.measured_seconds
        theirs, _, _ = macs_search(request, share)
    times = clock({"dense": traced.model, "latency search": ours, "MACs search": theirs})
    rows = {"dense": traced.model, "latency search": ours, "MACs search": theirs}
    print(
        f"\n{'':18}{'latency':>10}{'MACs':>8}{'accuracy':>10}   (10,000 test images, seed {seed})"
    )
    table: dict[str, object] = {}
    for name, network in rows.items():
        right = accuracy(network, data.test, data.test_labels)
        part, work = times[name] / times["dense"], macs_of(network) / macs_of(traced.model)
        table[name] = {"latency": part, "macs": work, "accuracy": right}
        print(f"{name:18}{part:10.2f}{work:8.0%}{right:10.2f}", flush=True)
    return table


if __name__ == "__main__":
    main()
