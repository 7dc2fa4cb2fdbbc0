"""Integer networks on this machine: how quick each form is, how well mixed ones are predicted, and
what pruning and INT8 are worth together.

    python tests/benchmarks/bench_int8.py forms     --shared ../shared
    python tests/benchmarks/bench_int8.py policies  --shared ../shared [--networks resnet56 ...]
    python tests/benchmarks/bench_int8.py search    --shared ../shared [--seeds 0 1 2]

`schemes`: all layers in 8 bits, in each form of activations, beside fp32; interleaved.
`policies`: 20 random policies of channels, blocks and int8 or fp32 a layer; predicted from measured
operators and conversions with an overhead fitted on 8 other networks, then measured.
`search`: ResNet-56 at a share of the dense fp32 latency: channels, blocks and bits searched
together; INT8 everywhere with as few blocks left out, evenly spread, as the budget takes; pruning
alone. Finished alike, no training, latency measured, all 10,000 test images once each.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from bench_latency_search import subject_of
from cifar import Cifar, load_cifar, load_resnet, normalised
from latency_networks import NETWORKS, build
from scipy.stats import spearmanr

from automl.cost import build_cost_model, required_keys
from automl.export.onnx import onnx_bytes
from automl.latency.table import LatencyTable
from automl.latency.targets import cpu_table
from automl.network.traced_model import TracedModel, trace_network
from automl.pipeline import search
from automl.pipeline.context import make_compressor, price_request, reachable_budget
from automl.pipeline.granularity import learn_granularity, probe_keys
from automl.pipeline.networks import fit_networks, timed_onnx
from automl.pipeline.precision import precisions_of, scheme_of
from automl.pipeline.pricing import measure_here
from automl.pipeline.requests import SearchRequest, Task, ignore
from automl.policy.policy import Bits, Policy
from automl.profiling.device import conditions, others_load
from automl.profiling.integer import SCHEMES
from automl.profiling.measuring import measure_models, profile
from automl.profiling.overhead import network_seconds
from automl.profiling.runner import LocalRunner, Runner
from automl.space import build_space
from automl.study.judging import judge
from automl.userdata.data import Batches

INT8 = Bits(8, 8)
WAYS = ("joint", "int8", "pruning")
Row = dict[str, float]


def main() -> None:
    """One of the three parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("forms", "policies", "search"))
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--networks", nargs="+", default=["resnet20", "resnet56", "example"])
    parser.add_argument("--policies", type=int, default=20)
    parser.add_argument("--budget", default="30%")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    print(f"{conditions()}; others keep {others_load(0.5):.1f} cores busy", flush=True)
    if options.part == "search":
        with own_table():
            found: object = [
                one_search(options.shared, options.budget, seed, options.ways)
                for seed in options.seeds
            ]
    else:
        with own_table() as table, LocalRunner() as runner:
            part: Callable[..., object] = schemes if options.part == "forms" else mixed
            found = {
                name: part(read(options.shared, name), table, runner, options)
                for name in options.networks
            }
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


@contextmanager
def own_table() -> Iterator[LatencyTable]:
    """A table of this machine that is thrown away, unless AUTOML_HOME says where to keep it."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("AUTOML_HOME", folder)
        yield cpu_table()


def read(shared: Path, name: str) -> TracedModel:
    """The trained networks of the shared folder, or one of random weights."""
    depth = {"resnet20": 20, "resnet32": 32, "resnet56": 56}.get(name)
    if depth is not None and shared.exists():
        return trace_network(load_resnet(shared, depth), (1, 3, 32, 32), resolutions=())
    return trace_network(build(name), NETWORKS[name].shape, resolutions=())


def schemes(
    traced: TracedModel, table: LatencyTable, runner: Runner, options: argparse.Namespace
) -> dict[str, float]:
    """Milliseconds of fp32 and of each integer form."""
    layers = dict.fromkeys((p.owner for p in traced.network.plans if p.owner), INT8)
    models = {"fp32": timed_onnx(traced, Policy(), table.header)}
    for scheme in SCHEMES:
        header = table.header.model_copy(update={"form": scheme})
        models[scheme] = timed_onnx(traced, Policy(bits=layers), header)
    times = measure_models(models, runner, spread=0.005, seconds_cap=20.0)
    found = {name: timing.seconds * 1e3 for name, timing in times.items()}
    shares = ", ".join(f"{n} {v:.3f} ms ({v / found['fp32']:.2f})" for n, v in found.items())
    print(shares, flush=True)
    return found


def mixed(
    traced: TracedModel, table: LatencyTable, runner: Runner, options: argparse.Namespace
) -> dict[str, object]:
    """Predicted against measured seconds of random policies."""
    start = time.monotonic()
    network, precisions = traced.network, precisions_of(table.header)
    profile(table, probe_keys(network, "fp32"), runner)
    steps = learn_granularity(network, table, "fp32")
    space = build_space(network, round_to=steps, precisions=(INT8, Bits()))
    keys = required_keys(network, space, precisions=precisions)
    report = profile(table, keys, runner)
    fitted = fit_networks(traced, table, space, runner, 1, ignore)
    operators = time.monotonic() - start
    vectors = space.random(options.policies, np.random.default_rng(2))
    sums = build_cost_model(network, space, table, precisions=precisions).price(vectors)[:, 0]
    policies = [space.decode(vector) for vector in vectors]
    counts = [len(network.shapes(p.channels, p.removed)) for p in policies]
    models = {str(i): timed_onnx(traced, p, table.header) for i, p in enumerate(policies)}
    times = measure_models(models, runner, seconds_cap=2.0 * len(models))
    measured = [times[name].seconds for name in models]
    pairs = zip(sums.tolist(), counts, strict=True)
    predicted = [network_seconds(fitted.overhead, total, count) for total, count in pairs]
    errors = np.abs(np.array(predicted) / np.array(measured) - 1)
    result: dict[str, object] = {
        "operators": len(keys),
        "doubtful": report.doubtful,
        "refused": len(report.refused),
        "seconds": operators,
        "predicted": predicted,
        "measured": measured,
        "sum_error": float(np.abs(sums / np.array(measured) - 1).mean()),
        "fitted_error": float(errors.mean()),
        "worst": float(errors.max()),
        "rank_correlation": float(spearmanr(predicted, measured).statistic),
        "scale": fitted.overhead.scale,
        "left_out_error": fitted.overhead.error,
    }
    print({k: v for k, v in result.items() if k not in ("predicted", "measured")}, flush=True)
    return result


def one_search(shared: Path, budget: str, seed: int, ways: list[str]) -> dict[str, Row]:
    """Three ways to the same latency."""
    data, model = load_cifar(shared), load_resnet(shared, 56)
    task = with_test(subject_of(data, model, seed), data)
    rows: dict[str, Row] = {}
    print(f"\n{'':10}{'predicted':>10}{'measured':>10}{'accuracy':>10}   ({budget}, seed {seed})")
    for way in ways:
        with tempfile.TemporaryDirectory() as folder:
            request = SearchRequest(
                task=task,
                target="cpu",
                budget=(budget,),
                out=Path(folder),
                seed=seed,
                resolutions=(),
                precisions=("float",) if way == "pruning" else ("auto",),
            )
            rows[way] = all_integers(request) if way == "int8" else searched(request)
        row = rows[way]
        print(f"{way:10}{row['predicted']:10.3f}{row['measured']:10.3f}{row['accuracy']:10.2f}")
    return rows


def searched(request: SearchRequest) -> Row:
    """Shares of the dense latency, and the accuracy of what one search delivers."""
    result = search(request, ignore)
    dense, small = result.dense, result.compressed
    assert dense.predicted_seconds is not None
    assert small.predicted_seconds is not None
    assert dense.measured_seconds is not None
    assert small.measured_seconds is not None
    assert small.score is not None
    return {
        "predicted": small.predicted_seconds / dense.predicted_seconds,
        "measured": small.measured_seconds / dense.measured_seconds,
        "accuracy": 100 * small.score,
    }


def all_integers(request: SearchRequest) -> Row:
    """The same of INT8 everywhere, with the fewest blocks left out that meet the budget."""
    priced = price_request(request, ignore)
    budget = reachable_budget(priced, request.budget)
    scheme = scheme_of(priced.table.header)
    compressor = make_compressor(priced.traced, priced.space, scheme, request, ignore)
    costs, network = priced.costs, priced.traced.network
    bits = dict.fromkeys((plan.owner for plan in network.plans if plan.owner), INT8)
    names = [block.name for block in network.blocks]
    for count in range(len(names) + 1):
        spread = np.linspace(0, len(names) - 1, count).round().astype(int)
        policy = Policy(bits=bits, removed=frozenset(names[place] for place in spread))
        if budget.allows(costs.cost(policy)):
            break
    print(f"int8: {count} of {len(names)} blocks left out", flush=True)
    model = compressor.make(policy)
    compressor.forget()
    shape = request.task.input_shape
    models = {"dense": onnx_bytes(priced.traced.model, shape), "small": onnx_bytes(model, shape)}
    times = measure_here(models, 1)
    test = request.task.data.test
    assert test is not None
    return {
        "predicted": costs.cost(policy).latency / costs.dense.latency,
        "measured": times["small"] / times["dense"],
        "accuracy": 100 * judge(model, request.task.score, test),
    }


def with_test(task: Task, data: Cifar) -> Task:
    """The subject with all test images, which the search reads once, for its final figures."""
    pairs = zip(data.test.split(250), data.test_labels.split(250), strict=True)
    test = Batches(tuple((normalised(part), truth) for part, truth in pairs))
    return replace(task, data=replace(task.data, test=test))


if __name__ == "__main__":
    main()
