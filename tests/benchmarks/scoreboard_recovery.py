"""Rows of the scoreboard: losses, hooks and starts of a recovery, a few dozen steps each.

All train on the 1,000 calibration images, two epochs of 25 batches of 40 where nothing else is
said, with labels and the dense network's outputs; `error` is that of held-out logits, as elsewhere.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from scored import USUAL, Bench, Check, Figures, Row
from torch import nn

from automl.compression import Compressor, QuantizedModel, RefitSettings
from automl.network import trace_network, with_norms
from automl.policy import Bits, Policy
from automl.recovery import (
    TRAINED_QUANTIZERS,
    Beginning,
    Objective,
    QuantizedStudent,
    Recovered,
    RecoveryData,
    RecoveryRecipe,
    recover,
    without_dead,
)
from automl.recovery.channels import chosen, find_channels
from automl.recovery.layer_weights import FoldedWeights, largest, layer_weights, norm_scales
from automl.recovery.starts.rewind import Rewind
from automl.recovery.starts.scratch import Scratch
from automl.recovery.terms.k_means import nearest_centres

TERMS = ("labels", "kd")


def student_of(bench: Bench) -> nn.Module:
    """The dense network with its norms, to be trained."""
    return bench.model().eval().requires_grad_(True)


def put_back(bench: Bench) -> nn.Module:
    """The dense network folded and its norms put back, as recovery trains it.

    Its own norms have the statistics of padded, mirrored training images; on others they drift, and
    take the weights with them: two epochs of such a training cost more than what is masked.
    """
    return with_norms(bench.traced.model, bench.images.split(250)).eval().requires_grad_(True)


def train(
    bench: Bench,
    student: nn.Module,
    terms: Sequence[str] = TERMS,
    hooks: Sequence[str] = (),
    epochs: int = 2,
    rate: float = 0.01,
    pairs: Sequence[tuple[torch.Tensor, torch.Tensor]] = (),
) -> Recovered:
    """Train a student in place, and leave it without gradients; on other pairs where given."""
    recipe = RecoveryRecipe(tuple(terms), epochs, learning_rate=rate, hooks=tuple(hooks))
    pairs = pairs or [*zip(bench.images.split(40), bench.labels.split(40), strict=True)]
    objective = Objective(student, (bench.traced.model,), recipe.made_terms())
    found = recover(objective, RecoveryData(pairs, seed=bench.seed), recipe)
    student.requires_grad_(False)
    return found


def without_channels(bench: Bench, model: nn.Module, share: float) -> nn.Module:
    """A copy in which the smallest filters of each group write and are read nothing."""
    cut = copy.deepcopy(model).requires_grad_(False)
    for group in find_channels(cut, bench.images[:1]):
        group.zero(cut, chosen(group.length(cut), share))
    return cut


def shrunk(bench: Bench, hook: str, epochs: int = 2) -> Figures:
    """Channels that a hook takes out, beside the smallest filters cut without training."""
    student = put_back(bench)
    plain = bench.accuracy(without_channels(bench, student, 0.2))
    train(bench, student, hooks=(hook,), epochs=epochs)
    smaller, gone, of = without_dead(student, bench.images[:1])
    gap = (student(bench.held_out[:50]) - smaller(bench.held_out[:50])).abs().max()
    accuracy = bench.accuracy(smaller)
    return {"accuracy": accuracy, "gain": accuracy - plain, "gone": gone / of, "gap": float(gap)}


def soft_mask(bench: Bench) -> Figures:
    """Masks that let filters come back beside one that does not, in as many steps.

    In ten epochs, for it masks after each.
    """
    figures = shrunk(bench, "soft-mask:share=0.2", epochs=10)
    student = without_channels(bench, put_back(bench), 0.2).requires_grad_(True)
    train(bench, student, hooks=("keep-zeros",), epochs=10)
    hard = bench.accuracy(student)
    return {**figures, "hard": hard, "over_hard": figures["accuracy"] - hard}


def pruned(bench: Bench, share: float) -> nn.Module:
    """The network, norms put back, without the smallest weights of each layer."""
    return prune(bench, put_back(bench), share)


@torch.no_grad()
def prune(bench: Bench, student: nn.Module, share: float) -> nn.Module:
    """Zero the smallest weights of each layer, as they are with norms folded; in place."""
    folded = FoldedWeights(student, bench.images[:1])
    for name, weight in layer_weights(student).items():
        weight.mul_(largest(folded(name, weight), share))
    return student


def zeros_of(model: nn.Module) -> float:
    """Share of all layers' weights."""
    weights = layer_weights(model).values()
    zeros = sum(int((each == 0).sum()) for each in weights)
    return zeros / sum(each.numel() for each in weights)


def iterative(bench: Bench) -> Figures:
    """Three rounds of pruning and retraining, to 60 % of the weights, 10,000 new images each."""
    student = put_back(bench)
    for number, share in enumerate((0.3, 0.45, 0.6)):
        prune(bench, student.requires_grad_(True), share)
        images, labels = bench.further(number, 10_000)
        pairs = [*zip(images.split(100), labels.split(100), strict=True)]
        train(bench, student, hooks=("keep-zeros",), epochs=1, pairs=pairs)
    found = bench.accuracy(student)
    return {"zeros": zeros_of(student), "drop": bench.accuracy(bench.model()) - found}


def masked(bench: Bench, hook: str) -> Figures:
    """Weights that a hook masks beside the smallest pruned once and retrained, in as many steps."""
    plain, student = pruned(bench, 0.8), put_back(bench)
    train(bench, plain, hooks=("keep-zeros",), epochs=5)
    found = train(bench, student, hooks=(hook,), epochs=5)
    said = found.told[0].split()
    back = float(said[-7].replace(",", "")) if hook.startswith("surgery") else 0.0
    return {
        "error": bench.error(student),
        "over_once": bench.error(student) / bench.error(plain),
        "zeros": zeros_of(student),
        "spliced": back,
        "freed_over_sparse": found.losses[1] / found.losses[0],
    }


def converged(bench: Bench, hook: str) -> Figures:
    """A set that ADMM brings weights to beside a projection without training."""
    student, plain = put_back(bench), pruned(bench, 0.8)
    found = train(bench, student, hooks=(hook,), epochs=3)
    words = found.told[0].rpartition("; ")[2].split()
    return {
        "error": bench.error(student),
        "over_projected": bench.error(student) / bench.error(plain.requires_grad_(False)),
        "residual_first": float(words[0]),
        "residual_last": float(words[-2]),
        "zeros": zeros_of(student),
    }


def powers(bench: Bench) -> Figures:
    """All weights powers of two or zero."""
    student = put_back(bench)
    train(bench, student, hooks=("freeze-progressive",), epochs=4)
    others = 0
    for weight in layer_weights(student).values():
        sizes = weight[weight != 0].abs().log2()
        others += int((sizes != sizes.round()).sum())
    return {"others": others, "drop": bench.accuracy(bench.model()) - bench.accuracy(student)}


def staged(bench: Bench, epochs: int = 4, pairs: Any = ()) -> Figures:
    """Bits that fall to 2 beside 2 bits from the first step, in as many; the ends have 8."""
    compressor = Compressor(bench.traced, bench.images, {}, config=USUAL)
    bits = dict.fromkeys(compressor.joint.flow.layers, Bits(2, 2))
    policy = Policy(bits=bits | {"conv1": Bits(8, 8), "linear": Bits(8, 8)})
    model = compressor.make(policy, settings=RefitSettings(images=512, rows=12_000))
    assert isinstance(model, QuantizedModel)
    found = {"before": bench.accuracy(model)}
    for name, hooks in (("direct", ()), ("staged", ("progressive-bits",))):
        quantizer, inputs = TRAINED_QUANTIZERS.build("lsq"), bench.images.split(250)
        student = QuantizedStudent(model, quantizer, inputs, dense=bench.traced.model)
        train(bench, student, hooks=hooks, epochs=epochs, pairs=pairs)
        found[name] = bench.accuracy(student.frozen())
    return {**found, "over_direct": found["staged"] - found["direct"]}


def beside_plain(bench: Bench, terms: Sequence[str] = TERMS, hooks: Sequence[str] = ()) -> Figures:
    """Accuracy of a training beside the plain one, both from spoilt weights."""
    found = {}
    for name, chosen_terms, chosen_hooks in (("plain", TERMS, ()), ("with", terms, hooks)):
        student = spoilt(bench)
        train(bench, student, chosen_terms, chosen_hooks)
        found[name] = bench.accuracy(student)
    return {**found, "over_plain": found["with"] - found["plain"]}


def spoilt(bench: Bench) -> nn.Module:
    """The dense network with noise of 0.4 times each layer's deviation on its weights."""
    student, generator = student_of(bench), torch.Generator().manual_seed(bench.seed)
    with torch.no_grad():
        for weight in layer_weights(student).values():
            noise = torch.randn(weight.shape, generator=generator)
            weight.add_(0.4 * weight.std() * noise)
    return student


def distilled(bench: Bench, term: str) -> Figures:
    """One loss alone from spoilt weights: does it fall, and the error with it?"""
    student = spoilt(bench)
    before = bench.error(student.requires_grad_(False))
    found = train(bench, student.requires_grad_(True), (term,))
    return {
        "before": before,
        "error": bench.error(student),
        "over_before": bench.error(student) / before,
        "loss": found.losses[-1] / found.losses[0],
    }


def penalised(
    bench: Bench,
    measure: Callable[[nn.Module], float],
    weak: Mapping[str, Any],
    strong: Mapping[str, Any],
) -> Figures:
    """What a penalty does to weights, weak and strong."""
    found = {}
    for name, options in (("weak", weak), ("strong", strong)):
        student = student_of(bench)
        train(bench, student, **options)
        found[name], found[f"{name}_error"] = measure(student), bench.error(student)
    return {**found, "more": found["strong"] - found["weak"]}


def small_scales(model: nn.Module) -> float:
    """Share of norms' scales below 0.05."""
    scales = torch.cat([each.abs() for each in norm_scales(model).values()])
    return float((scales < 0.05).float().mean())


def length(model: nn.Module) -> float:
    """Of all weights with norms folded, negative: it grows where they are drawn to zero."""
    return -sum(float(each.norm()) for each in delivered(model))


def gathered(model: nn.Module) -> float:
    """How near weights are to 16 values a layer: minus the mean squared distance, relative."""
    gaps = [
        (w - nearest_centres(w, 16)).square().mean() / w.square().mean() for w in delivered(model)
    ]
    return -float(torch.stack(gaps).mean())


def delivered(model: nn.Module) -> list[torch.Tensor]:
    """Weights of all layers with norms folded."""
    folded = trace_network(model, (1, 3, 32, 32), resolutions=()).model
    return [each.detach() for each in layer_weights(folded).values()]


def penalty(term: str, weak: float, strong: float, hook: str = "") -> tuple[Any, Any]:
    """Options of `train` with a loss, or a hook, of two weights."""
    if hook:
        return tuple({"hooks": (f"{hook},strength={each}",)} for each in (weak, strong))
    return tuple({"terms": (*TERMS, f"{term}weight={each}")} for each in (weak, strong))


def ticket(bench: Bench) -> Figures:
    """At a fifth of the weights: early weights of a short dense training, and drawn ones."""
    dense = bench.model().train().requires_grad_(True)
    with torch.random.fork_rng():
        torch.manual_seed(bench.seed)
        for module in dense.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
    labels = ("labels",)
    train(bench, dense, labels, epochs=1, rate=0.05)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "first.pt"
        torch.save(dense.state_dict(), path)
        train(bench, dense.requires_grad_(True), labels, epochs=8, rate=0.05)
        with torch.no_grad():
            for weight in layer_weights(dense).values():
                weight.mul_(largest(weight, 0.8))
        found = {}
        for name in ("rewound", "drawn"):
            student = copy.deepcopy(dense)
            if name == "rewound":
                Rewind(str(path)).begin(Beginning(student, bench.seed, lambda first: first))
            else:
                Scratch().begin(Beginning(student, bench.seed))
                with torch.no_grad():
                    for key, weight in layer_weights(student).items():
                        weight.mul_(layer_weights(dense)[key] != 0)
            train(bench, student.requires_grad_(True), labels, ("keep-zeros",), 8, 0.05)
            found[name] = bench.accuracy(student)
    return {**found, "over_drawn": found["rewound"] - found["drawn"]}


NO_WORSE = Check("over_plain", at_least=-1.0)
FALLS = (Check("loss", at_most=0.99), Check("over_before", at_most=1.0))
MORE = (Check("more", at_least=0.0),)
SHORTER = "weights, norms folded, are shorter with a larger weight"
ROWS = (
    Row(
        "zero-out",
        "hooks/zero-out",
        "accuracy without a fifth of the channels at least 10 points above an L1 cut, both raw",
        partial(shrunk, hook="zero-out:share=0.2"),
        (Check("gain", at_least=10.0), Check("gap", at_most=1e-3)),
        seeds=(0,),
    ),
    Row(
        "soft-mask",
        "hooks/soft-mask",
        "no worse than a hard mask in as many steps, of ten epochs",
        soft_mask,
        (Check("over_hard", at_least=0.0), Check("gap", at_most=1e-3)),
        seeds=(0,),
    ),
    Row(
        "centripetal",
        "hooks/centripetal",
        "filters of a cluster merge without a change, better than an L1 cut",
        partial(shrunk, hook="centripetal:share=0.2"),
        (Check("gap", at_most=1e-3), Check("gain", at_least=0.0)),
        seeds=(0,),
    ),
    Row(
        "keep-zeros",
        "hooks/keep-zeros",
        "60 % of the weights gone in three rounds of 100 steps, a drop of at most 0.5",
        iterative,
        (Check("drop", at_most=0.5), Check("zeros", at_least=0.59)),
        seeds=(0,),
    ),
    Row(
        "surgery",
        "hooks/surgery",
        "at the same density no worse than pruning once, and weights come back",
        partial(masked, hook="surgery:share=0.8"),
        (Check("over_once", at_most=1.0), Check("spliced", at_least=1.0)),
        seeds=(0,),
    ),
    Row(
        "iht",
        "hooks/iht",
        "the loss is smaller where all weights are free; in the end the density is the asked one",
        partial(masked, hook="iht:share=0.8"),
        (Check("freed_over_sparse", at_most=1.0), Check("zeros", at_least=0.79)),
        seeds=(0,),
    ),
    Row(
        "admm",
        "hooks/admm",
        "the distance to the set falls; better than a projection without training",
        partial(converged, hook="admm:share=0.8"),
        (Check("residual_last", at_most=0.1), Check("over_projected", at_most=1.0)),
        seeds=(0,),
    ),
    Row(
        "freeze-progressive",
        "hooks/freeze-progressive",
        "all weights zero or powers of two, a drop of at most 1 (norms put back, as in recovery)",
        powers,
        (Check("others", at_most=0.0), Check("drop", at_most=1.0)),
        seeds=(0,),
    ),
    Row(
        "progressive-bits",
        "hooks/progressive-bits",
        "w2a2: bits that fall no worse than 2 bits from the first step, in as many steps",
        staged,
        (Check("over_direct", at_least=0.0),),
        seeds=(0,),
    ),
    Row(
        "prox",
        "hooks/prox",
        "more exact zeros with a larger strength",
        partial(
            penalised,
            measure=zeros_of,
            weak=penalty("", 0.01, 0.1, "prox:of=shape")[0],
            strong=penalty("", 0.01, 0.1, "prox:of=shape")[1],
        ),
        (Check("more", at_least=1e-3),),
        seeds=(0,),
    ),
    *(
        Row(
            name,
            f"terms/{name}",
            expects,
            partial(
                penalised,
                measure=measure,
                weak=penalty(f"{name}:", *weights)[0],
                strong=penalty(f"{name}:", *weights)[1],
            ),
            checks,
            seeds=(0,),
        )
        for name, expects, measure, weights, checks in (
            ("group-lasso", SHORTER, length, (0, 1e-3), MORE),
            ("cges", SHORTER, length, (0, 1e-3), MORE),
            ("l1", SHORTER, length, (0, 1e-3), MORE),
            ("l2", SHORTER, length, (0, 1e-3), MORE),
            ("l1-gamma", "more scales near zero than without", small_scales, (0, 0.03), MORE),
            ("k-means", "nearer to 16 values a layer than without", gathered, (0, 3.0), MORE),
        )
    ),
    *(
        Row(
            name,
            f"terms/{name}",
            "from spoilt weights the loss falls, and the error with it",
            partial(distilled, term=name),
            FALLS,
            seeds=(0,),
        )
        for name in ("fsp", "similarity")
    ),
    *(
        Row(
            name,
            f"hooks/{name}",
            "within a point of plain training",
            partial(beside_plain, hooks=(name,)),
            (NO_WORSE,),
            seeds=(0,),
        )
        for name in ("dropconnect", "meprop", "quantised-gradients")
    ),
    Row(
        "rewind",
        "starts/rewind",
        "a fifth of the weights: rewound better than drawn anew",
        ticket,
        (Check("over_drawn", at_least=0.0),),
        seeds=(0,),
    ),
)
