"""What is measured of one popular network: how it is read and cut, and what Torch-Pruning does."""

from __future__ import annotations

import importlib
import importlib.util
import random
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from automl.errors import AutomlError, Raised, attempt
from automl.export.counting import count_macs
from automl.network.input_form import form_of, input_hook, taking_rows
from automl.network.labels import OUTPUT, names
from automl.network.layers import Layer, LayerPlan, Network
from automl.network.surgery import mask, smaller
from automl.network.trace import record
from automl.network.traced_model import TracedModel, trace_network
from automl.userdata.models import plain_model

#: The packages that the networks come from; none of them is one of automl's.
PACKAGES = ("timm", "torchvision", "segmentation_models_pytorch", "transformers", "ultralytics")
#: Random policies that are held against the masked network.
POLICIES = 2
#: What a freshly made network has so small that a branch would not show; given other values.
_GAINS = names("gamma gamma_1 gamma_2 layer_scale layer_scale_1 layer_scale_2 scale gain")

Row = dict[str, Any]
#: Family, factory, shape of one input.
Entry = tuple[str, Callable[[], Any], tuple[int, ...]]


def load_networks(file: Path) -> dict[str, Entry]:
    """The networks that a file names in `N`; what they are made with is imported when they are."""
    sys.path.insert(0, str(file.resolve().parent))
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: dict[str, Entry] = module.N
    return found


def missing_packages() -> list[str]:
    """Those of `PACKAGES` that cannot be imported; the others are imported now."""
    missing = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in PACKAGES:
            try:
                importlib.import_module(name)
            except ImportError:
                missing.append(name)
    return missing


def build(entry: Entry) -> Any:
    """The network in eval mode, with statistics, affine weights and gains that show."""
    torch.manual_seed(0)
    random.seed(0)
    model = entry[1]()
    if isinstance(model, nn.Module) and not isinstance(model, torch.fx.GraphModule):
        model.eval()
        _randomise(model)
    return model


def _randomise(model: nn.Module) -> None:
    generator = torch.Generator().manual_seed(3)

    def fill(values: Any, low: float, high: float) -> None:
        if isinstance(values, Tensor) and values.is_floating_point():
            values.copy_(torch.empty(values.shape).uniform_(low, high, generator=generator))

    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                for shift in (module.running_mean, module.bias):
                    fill(shift, -0.3, 0.3)
                for scale in (module.running_var, module.weight):
                    fill(scale, 0.5, 1.5)
        for name, parameter in model.named_parameters():
            if name.rpartition(".")[2] in _GAINS:
                fill(parameter, 0.3, 0.9)


def outputs(model: Any, inputs: Tensor) -> list[Tensor]:
    """All tensors that a network gives."""
    with torch.no_grad():
        return _tensors(model(inputs))


def _tensors(tree: Any) -> list[Tensor]:
    found = []
    for leaf in tree_leaves(tree):
        if isinstance(leaf, Tensor):
            found.append(leaf)
        elif hasattr(leaf, "to_tuple"):
            found += _tensors(leaf.to_tuple())
    return found


def counted_macs(model: Any, inputs: Tensor, without: frozenset[str] = frozenset()) -> int:
    """Multiply-accumulates as `torch.utils.flop_counter` counts them, some modules left out.

    It knows fused attention on other devices only, so it is told of the CPU's, and it sees nothing
    inside the CPU's fused recurrent layers and encoder layers, so these are switched off.
    """
    attention = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    counter = FlopCounterMode(display=False, custom_mapping=attention)
    try:
        with torch.backends.mkldnn.flags(enabled=False), counter, torch.no_grad():
            model(inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    counts: Any = counter.get_flop_counts()
    left_out = sum(
        sum(counts.get(f"{type(model).__name__}.{name}", {}).values()) for name in without
    )
    return (int(counter.get_total_flops()) - left_out) // 2


def fvcore_macs(model: nn.Module, shape: tuple[int, ...]) -> float | None:
    """Multiply-accumulates as fvcore counts them; None where it lacks some, or cannot trace it."""
    found = attempt(lambda: count_macs(model, shape))
    return None if isinstance(found, Raised) or found.unknown else found.macs


def unread_layers(model: nn.Module, inputs: Tensor) -> frozenset[str]:
    """Layers that run in torch and whose outputs nothing reads: an exported file lacks them."""
    trace = record(model, inputs, labelled=False)
    alive = {call.step.module for call in trace.alive()}
    return frozenset(call.step.module for call in trace.calls) - alive


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))


def difference(found: list[Tensor], expected: list[Tensor]) -> float | None:
    """Largest difference as a share of each output's scale; None where shapes differ."""
    if [each.shape for each in found] != [each.shape for each in expected]:
        return None
    worst = 0.0
    for left, right in zip(found, expected, strict=True):
        numbers = torch.isfinite(left) & torch.isfinite(right)
        if numbers.any() and left.is_floating_point():
            scale = float(right[numbers].abs().max()) or 1.0
            worst = max(worst, float((left - right)[numbers].abs().max()) / scale)
    return worst


def read(entry: Entry) -> Row:
    """How a network is read, how much of it is open, and whether what is cut is right."""
    made = build(entry)
    try:
        model, example = _ready(made, entry)
        start = time.process_time()
        traced = trace_network(model, entry[2])
    except AutomlError as error:
        return {"read": "refused", "why": str(error)}
    row: Row = {"read": "yes", "seconds": round(time.process_time() - start, 2)}
    network, dense = traced.network, outputs(traced.model, example)
    macs = sum(layer.macs for layer in network.layers)
    row |= {"macs": macs, "counted": counted_macs(traced.model, example)}
    row["fvcore"] = fvcore_macs(traced.model, tuple(example.shape))
    row |= _shares(network, macs)
    row["policies"] = [_policy(traced, example, dense, seed) for seed in range(POLICIES)]
    return row


def _ready(made: Any, entry: Entry) -> tuple[nn.Module, Tensor]:
    """The network as a search takes it, and an input: of whole numbers where it takes no others."""
    model, example = plain_model(made).model, _example(entry, 1)
    words = torch.arange(example[0].numel()).view(entry[2]) % 7
    if not _runs(model, example) and _runs(model, words):
        form = form_of(words)
        example = form.pack(words)
        model = taking_rows(model, form, "one", example, copies=False)
    return model, example


def _runs(model: nn.Module, inputs: Tensor) -> bool:
    try:
        outputs(model, inputs)
    except (RuntimeError, TypeError, ValueError, AssertionError):
        return False
    return True


def _example(entry: Entry, seed: int) -> Tensor:
    return torch.randn(entry[2], generator=torch.Generator().manual_seed(seed))


def _shares(network: Network, macs: int) -> Row:
    def share(test: Callable[[LayerPlan], bool]) -> float:
        part = sum(plan.layer.macs for plan in network.plans if test(plan))
        return round(part / max(1, macs), 4)

    half = {group.name: max(1, group.channels // 2) for group in network.groups}
    left = sum(layer.macs for layer in network.shapes(half))
    return {
        "groups": len(network.groups),
        "blocks": len(network.blocks),
        "resolutions": len(network.resolutions),
        "channels_share": share(lambda plan: bool(plan.inputs.parts or plan.outputs.parts)),
        "blocks_share": share(lambda plan: bool(plan.block)),
        "bits_share": share(lambda plan: plan.owner == plan.layer.name != ""),
        "half": round(left / max(1, macs), 4),
        "unprunable": Counter(part.reason for part in network.unprunable).most_common(),
        "names": [part.name for part in network.unprunable],
    }


def _policy(traced: TracedModel, example: Tensor, dense: list[Tensor], seed: int) -> Row:
    """A random policy: the cut network beside the masked one in double, its MACs beside counted."""
    network, chance = traced.network, random.Random(seed)
    kept = {}
    for group in network.groups:
        count = max(1, round(group.channels * chance.uniform(0.5, 0.9)))
        kept[group.name] = torch.tensor(sorted(chance.sample(range(group.channels), count)))
    removed = frozenset(block.name for block in network.blocks if chance.random() < 0.3)
    foretold = sum(layer.macs for layer in _shapes(network, kept, removed))
    small = smaller(traced.model, network.groups, kept, removed)
    counted = counted_macs(small, example, unread_layers(small, example))
    inputs = example.double()
    if input_hook(traced.model) is None:  # others than those that reading looked at
        inputs = torch.randn(
            example.shape, generator=torch.Generator().manual_seed(7 + seed), dtype=torch.float64
        )
    found = outputs(small.double(), inputs)
    del small
    masked = mask(traced.model, network.groups, kept, removed).double()
    same = [each.shape for each in found] == [each.shape for each in dense]
    return {
        "removed": len(removed),
        "difference": difference(found, outputs(masked, inputs)),
        "same_shapes": same,
        "foretold": foretold,
        "counted": counted,
    }


def _shapes(
    network: Network, kept: dict[str, Tensor], removed: frozenset[str]
) -> tuple[Layer, ...]:
    return network.shapes({name: len(stay) for name, stay in kept.items()}, removed)


def torch_pruning(entry: Entry) -> Row:
    """What Torch-Pruning leaves of the MACs when it halves all widths, its output layers spared."""
    tp = importlib.import_module("torch_pruning")
    model, example = build(entry), _example(entry, 1)
    dense, before = outputs(model, example), counted_macs(model, example)
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.requires_grad_(True)
    attention = {
        module.qkv: module
        for module in model.modules()
        if isinstance(getattr(module, "qkv", None), nn.Linear) and hasattr(module, "num_heads")
    }
    with torch.enable_grad():
        pruner = tp.pruner.MagnitudePruner(
            *(model, example),
            importance=tp.importance.MagnitudeImportance(p=2),
            pruning_ratio=0.5,
            ignored_layers=_output_layers(model, example),
            num_heads={qkv: module.num_heads for qkv, module in attention.items()},
        )
        pruner.step()
    for qkv, module in attention.items():  # what its own examples do after it
        module.num_heads = pruner.num_heads[qkv]
        for name, value in (("head_dim", 3 * module.num_heads), ("attn_dim", 3)):
            if hasattr(module, name):
                setattr(module, name, qkv.out_features // value)
    found = outputs(model, example)
    same = [each.shape for each in found] == [each.shape for each in dense]
    after = counted_macs(model, example)
    return {"half": round(after / max(1, before), 4) if same else None, "same_shapes": same}


def _output_layers(model: nn.Module, example: Tensor) -> list[nn.Module]:
    """Layers whose outputs are the network's, as our own trace finds them; else the last one."""
    trace = record(model, example)
    found = [
        model.get_submodule(name)
        for (name, side), line in trace.bindings.items()
        if side == "out"
        and any(trace.union.unprunable(int(root)) == OUTPUT for root in trace.union.roots(line))
    ]
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d)
    return found or [each for each in model.modules() if isinstance(each, kinds)][-1:]


STAGES: dict[str, Callable[[Entry], Row]] = {"read": read, "tp": torch_pruning}
