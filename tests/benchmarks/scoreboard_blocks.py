"""Rows of the scoreboard: layers that become one, and searches that may choose it."""

from __future__ import annotations

import copy
from functools import partial
from statistics import mean
from tempfile import TemporaryDirectory

import torch
from bench_plain import search
from scored import Bench, Check, Figures, Row
from torch import nn

import automl
from automl.compression import CompressionConfig, Compressor, merged_chains
from automl.export import onnx_bytes
from automl.network import merge_layers, replace_layer, trace_network
from automl.pipeline.pricing import measure_here
from automl.policy import Policy

USUAL = "channels,blocks,resolution"
LIBRARY = "fire,separable-relu,half-width"


def merged(*names: str) -> Policy:
    """These layers become one with those after them."""
    return Policy(further={"merge": dict.fromkeys(names, "merged")})


def exact(bench: Bench) -> Figures:
    """A convolution of each block written as two with nothing between, and made one again."""
    model, generator = bench.model(), torch.Generator().manual_seed(bench.seed)
    names = [name for name in bench.convolutions if name.endswith("conv2")]
    for name in names:
        layer: nn.Conv2d = model.get_submodule(name)  # type: ignore[assignment]
        channels = layer.out_channels
        turn, _ = torch.linalg.qr(torch.randn(channels, channels, generator=generator))
        first, second = copy.deepcopy(layer), nn.Conv2d(channels, channels, 1, bias=False)
        with torch.no_grad():
            first.weight.copy_(torch.einsum("mo,oikl->mikl", turn.T, layer.weight))
            second.weight.copy_(turn.view(channels, channels, 1, 1))
        replace_layer(model, name, nn.Sequential(first, second))
    traced = trace_network(model.eval(), (1, 3, 32, 32), resolutions=())
    maker = Compressor(traced, bench.images, {}, config=CompressionConfig())
    made = maker.make(merged(*(f"{name}.0" for name in names)), finish=False)
    return {"error": bench.error(made), "merges": float(len(names))}


def against_product(bench: Bench) -> Figures:
    """The two convolutions of one block at a time as one: solved, and multiplied."""
    solved, product, gone = [], [], []
    removable = {block.name for block in bench.traced.network.blocks}
    for merge in bench.traced.network.merges:
        policy = merged(merge.name)
        solved.append(bench.error(bench.compressor.make(policy, finish=False)))
        plain = copy.deepcopy(bench.traced.model)
        for chain in merged_chains(bench.traced, policy):
            merge_layers(plain, chain)
        product.append(bench.error(plain))
        block = merge.name.rpartition(".")[0]
        if block in removable:
            without = Policy(removed=frozenset({block}))
            gone.append(bench.error(bench.compressor.make(without, finish=False)))
    figures = {"error": mean(solved), "product": mean(product), "gone": mean(gone)}
    return figures | {"ratio": figures["error"] / figures["product"]}


def price(bench: Bench) -> Figures:
    """Seconds of two 3 x 3 convolutions and of one of 5 x 5, as ResNet-20 has them, measured."""
    figures: dict[str, float] = {}
    for channels, size in ((16, 32), (32, 16), (64, 8)):
        pair = [nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2)]
        networks = {
            "one": nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1)),
            "pair": nn.Sequential(pair[0], nn.ReLU(), pair[1]),
            "merged": nn.Sequential(nn.Conv2d(channels, channels, 5, padding=2)),
        }
        shape = (1, channels, size, size)
        files = {name: onnx_bytes(each.eval(), shape) for name, each in networks.items()}
        seconds = measure_here(files, 1)
        figures[f"of_{channels}"] = seconds["merged"] / seconds["one"]
        figures[f"over_pair_{channels}"] = seconds["merged"] / seconds["pair"]
    return figures | {"least": min(figures[f"over_pair_{each}"] for each in (16, 32, 64))}


def searched(bench: Bench, target: str, budget: str, further: str = "merge") -> Figures:
    """The plain command with merges, or other choices, and without."""
    figures: dict[str, float] = {}
    for name, choices in (("without", USUAL), ("with", f"{USUAL},{further}")):
        flags = ["--precisions", "float", "--choices", choices]
        found = search(bench.network, target, budget, bench.seed, flags)
        figures |= {name: found["accuracy"], f"seconds_{name}": found["cpu_seconds"]}
    return figures | {"gain": figures["with"] - figures["without"]}


def example(bench: Bench, target: str, budget: str) -> Figures:
    """The shipped classifier, which has depthwise blocks, with merges and without."""
    figures: dict[str, float] = {}
    for name, choices in (("without", USUAL), ("with", f"{USUAL},merge")):
        with TemporaryDirectory() as folder:
            found = automl.search(
                "automl.example.model:pretrained",
                "automl.example.data:loaders",
                target=target,
                budget=budget,
                choices=choices,
                precisions="float",
                seed=bench.seed,
                out=folder,
            )
        chosen = found.policy.policy.further.get("merge", {}).values()
        figures |= {
            name: 100.0 * (found.compressed.accuracy or 0.0),
            f"merges_{name}": float(sum(each == "merged" for each in chosen)),
        }
    return figures | {"gain": figures["with"] - figures["without"]}


ROWS = (
    Row(
        "merge-exact",
        "kinds/merge",
        "convolutions with nothing between them, of which the first alone pads, are one exactly",
        exact,
        (Check("error", at_most=1e-6), Check("merges", at_least=9)),
    ),
    Row(
        "merge-solved",
        "kinds/merge",
        "solved by least squares: below half of the error of multiplied kernels",
        against_product,
        (Check("ratio", at_most=0.5),),
    ),
    Row(
        "merge-price",
        "kinds/merge",
        "a merged 5 x 5 costs more than the two 3 x 3 on this CPU: merging these loses",
        price,
        (Check("least", at_least=1.0),),
        seeds=(0,),
    ),
    Row(
        "search-merge-macs",
        "kinds/merge",
        "ResNet-20 at 50 % of the MACs: merges never pay, and do no harm",
        partial(searched, target="cpu", budget="50%MACs"),
        (Check("gain", at_least=-0.3),),
        seeds=(0,),
    ),
    *(
        Row(
            f"search-library-{share}",
            "kinds/alternative",
            f"ResNet-20 at {share} % of the MACs, without training: the library does no harm",
            partial(searched, target="cpu", budget=f"{share}%MACs", further=LIBRARY),
            (Check("gain", at_least=-0.3),),
            seeds=(0,),
        )
        for share in (50, 35)
    ),
    Row(
        "search-merge-example",
        "kinds/merge",
        "the shipped classifier with its depthwise blocks at 75 % of a Jetson's latency: not below",
        partial(example, target="jetson-orin-nano", budget="75%"),
        (Check("gain", at_least=-0.1),),
        seeds=(0,),
    ),
)
