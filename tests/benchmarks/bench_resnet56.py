"""ResNet-56 on CIFAR-10 without training: accuracy at a share of the dense multiply-accumulates.

Inner channels of each block only, no block removed, all 10,000 test images, several seeds (which
draw the calibration images from the training set). Beside the default: one ratio everywhere with
the largest weights kept (L1), the same ratio with the refit, and Torch-Pruning's global L1.
The search looks at training images only; every test accuracy below is of a final model.

    python tests/benchmarks/bench_resnet56.py --shared ../shared --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import mean, stdev

import torch
import torch_pruning
from cifar import Cifar, accuracy, load_cifar, load_resnet, normalised
from torch import nn

from automl.agents.registry import make_agent
from automl.compression.compressor import Compressor
from automl.compression.config import CompressionConfig
from automl.compression.sensitivity import measure_sensitivity
from automl.cost import Budget, CostModel, Limit, build_cost_model
from automl.network.surgery import smaller
from automl.network.traced_model import TracedModel, trace_network
from automl.policy.policy import Policy
from automl.space import Space, build_space, channel_counts
from automl.study.problem import Problem

SHAPE = (1, 3, 32, 32)


def inner_space(traced: TracedModel) -> Space:
    """Sixteenths of each block's inner channels, all else dense."""
    whole = build_space(traced.network, round_to={}, depth=False, resolutions=())
    inner = {name for block in traced.network.blocks for name in block.groups}
    first = {"layer2.0.conv1", "layer3.0.conv1"}  # blocks that cannot be left out have them too
    return Space(tuple(v for v in whole.variables if v.name in inner | first))


class Bench:
    """One seed: calibration images, statistics, and the methods."""

    def __init__(
        self, model: nn.Module, data: Cifar, seed: int, images: int, sensitivity_images: int
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randperm(len(data.train), generator=generator)[:images]
        self.traced = trace_network(model, SHAPE, resolutions=())
        self.space = inner_space(self.traced)
        self.costs: CostModel = build_cost_model(self.traced.network, self.space, None)
        start = time.process_time()
        counts = {v.name: channel_counts(v) for v in self.space.variables}
        calibration = normalised(data.train[drawn])
        config = CompressionConfig(seed=seed)
        self.compressor = Compressor(self.traced, calibration, counts, config=config)
        self.sensitivity = measure_sensitivity(
            self.compressor.database, self.space, self.compressor.images[:sensitivity_images]
        )
        self.prepared_seconds = time.process_time() - start

    def budget(self, keep: float) -> Budget:
        """That share of the dense multiply-accumulates."""
        return Budget((Limit("macs", keep * self.costs.dense.macs),))

    def propose(self, agent: str, keep: float) -> Policy:
        """The agent's first policy."""
        problem = Problem(self.space, self.costs, self.budget(keep), self.sensitivity)
        return make_agent(agent, problem, 0).ask(1)[0]

    def default(self, keep: float) -> nn.Module:
        """The default search."""
        return self.compressor.make(self.propose("lagrangian", keep))

    def uniform_refit(self, keep: float) -> nn.Module:
        """One ratio, channels by elimination, refitted."""
        return self.compressor.make(self.propose("uniform", keep))

    def uniform_l1(self, keep: float) -> nn.Module:
        """One ratio, the channels with the largest weights, nothing refitted."""
        policy = self.propose("uniform", keep)
        kept = {}
        for name, count in policy.channels.items():
            weight = self.traced.model.get_submodule(name).weight
            assert isinstance(weight, torch.Tensor)
            order = weight.detach().abs().sum((1, 2, 3)).topk(count).indices
            kept[name] = order.sort().values
        return smaller(self.traced.model, self.traced.network.groups, kept)


def torch_pruning_l1(model: nn.Module, keep: float) -> nn.Module:
    """Torch-Pruning's global L1 over the same layers, at the ratio that keeps such a share."""
    low, high = 0.0, 0.95
    best = model
    for _ in range(12):
        ratio = (low + high) / 2
        pruned = _global_l1(model, ratio)
        if _share(pruned, model) <= keep:
            best, high = pruned, ratio
        else:
            low = ratio
    return best


def _global_l1(model: nn.Module, ratio: float) -> nn.Module:
    pruned = copy.deepcopy(model)
    stay = [
        module
        for name, module in pruned.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and not name.endswith(".conv1")
    ]
    pruner = torch_pruning.pruner.MagnitudePruner(
        pruned,
        torch.zeros(SHAPE),
        importance=torch_pruning.importance.MagnitudeImportance(p=1),
        global_pruning=True,
        pruning_ratio=ratio,
        max_pruning_ratio=0.95,
        ignored_layers=stay,
    )
    pruner.step()
    return pruned


def _share(pruned: nn.Module, dense: nn.Module) -> float:
    counts = [
        torch_pruning.utils.count_ops_and_params(m, torch.zeros(SHAPE))[0] for m in (pruned, dense)
    ]
    return float(counts[0] / counts[1])


def main() -> None:
    """Print one line a method and share: mean accuracy, spread over seeds, drop, CPU seconds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--sensitivity-images", type=int, default=16)
    parser.add_argument("--keep", type=float, nargs="+", default=[0.7, 0.6, 0.5, 0.4, 0.3])
    parser.add_argument("--only-default", action="store_true")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data, model = load_cifar(options.shared), load_resnet(options.shared, 56)
    dense = accuracy(model, data.test, data.test_labels)
    print(f"dense: {dense:.2f} %, {len(data.test_labels)} test images", flush=True)
    results: dict[str, list[tuple[float, float]]] = {}

    def run(name: str, keep: float, make: Callable[[], nn.Module], before: float = 0.0) -> None:
        start = time.process_time()
        made = make()
        seconds = before + time.process_time() - start
        found = accuracy(made, data.test, data.test_labels)
        results.setdefault(f"{name} {keep:.0%}", []).append((found, seconds))
        print(f"  {name} {keep:.0%}: {found:.2f} ({seconds:.0f} CPU s)", flush=True)

    for seed in options.seeds:
        bench = Bench(model, data, seed, options.images, options.sensitivity_images)
        print(f"seed {seed}: prepared in {bench.prepared_seconds:.0f} CPU s", flush=True)
        for keep in options.keep:
            run("default", keep, partial(bench.default, keep), bench.prepared_seconds)
            if not options.only_default and (seed == options.seeds[0] or keep == 0.5):
                run("uniform, refit", keep, partial(bench.uniform_refit, keep))
            if not options.only_default and seed == options.seeds[0]:
                run("uniform, L1", keep, partial(bench.uniform_l1, keep))
                run("Torch-Pruning global L1", keep, partial(torch_pruning_l1, model, keep))
    report(results, dense)
    if options.json:
        options.json.write_text(json.dumps({"dense": dense, "results": results}, indent=1))


def report(results: dict[str, list[tuple[float, float]]], dense: float) -> None:
    """The table."""
    print(f"\n{'method and MACs kept':32}{'accuracy':>10}{'spread':>8}{'drop':>8}{'CPU s':>8}")
    for name, runs in results.items():
        found = [run[0] for run in runs]
        spread = f"{stdev(found):8.2f}" if len(found) > 1 else f"{'-':>8}"
        seconds = mean(run[1] for run in runs)
        print(f"{name:32}{mean(found):10.2f}{spread}{dense - mean(found):8.2f}{seconds:8.0f}")


if __name__ == "__main__":
    main()
