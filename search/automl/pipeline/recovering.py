"""What `apply` trains: the made network, with the dense one as teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from automl.compression import QuantizedModel, is_rounded, resized
from automl.errors import OptionError, UsageError
from automl.network import TracedModel, with_norms, without_norms
from automl.options import AskedRecovery, recovery_of
from automl.pipeline.networks import network_of
from automl.pipeline.requests import ApplyRequest, Event, OnEvent
from automl.pipeline.writing import packed_forms, packs
from automl.policy import Policy
from automl.recovery import (
    TERMS,
    TRAINED_QUANTIZERS,
    Beginning,
    Climber,
    FormedStudent,
    Objective,
    QuantizedStudent,
    Recovered,
    RecoveryData,
    RecoveryRecipe,
    Rung,
    check_quantizer,
    read_recipe,
    recover,
)
from automl.study import judge
from automl.userdata import EPOCH, has_classes

Tensor = torch.Tensor
#: What the stage is called.
STAGE = "recovering"


@dataclass(frozen=True, slots=True)
class PlannedRecovery:
    """What is to be done, known to be possible.

    Attributes:
        recipe: Losses and the rest; of rungs the usual, which is not read.
        seconds: Of rungs; 0 for the recipe.
    """

    recipe: RecoveryRecipe
    seconds: float = 0.0


def plan_recovery(request: ApplyRequest) -> PlannedRecovery | None:
    """What a request asks for; None where nothing is trained.

    Raises:
        UsageError: A recipe that cannot be read, or a term without what it needs.
    """
    asked = recovery_of(request.recover)
    if asked == AskedRecovery():
        return None
    policy = request.policy.policy
    if packs(policy) and any(map(is_rounded, policy.bits.values())):
        raise OptionError(
            "recover", "a policy that has bits and forms of few numbers is not trained"
        )
    recipe = RecoveryRecipe(asked.terms, asked.epochs) if asked.terms else RecoveryRecipe()
    if asked.file is not None:
        recipe = read_recipe(asked.file)
    if request.start is not None:
        recipe = replace(recipe, start=request.start)
    labelled = all(targets is not None for _, targets in request.task.data.validation)
    for text in recipe.terms:
        method = TERMS.get(TERMS.check(text).name)
        if "labels" in method.needs and not labelled:
            raise OptionError("recover", f"{method.name} needs targets, and the data has none")
    if request.quantizer is not None:
        recipe = replace(recipe, quantizer=request.quantizer)
    _check_rounding(recipe, request)
    return PlannedRecovery(recipe, asked.seconds)


def _check_rounding(recipe: RecoveryRecipe, request: ApplyRequest) -> None:
    """Raise OptionError where the recipe's quantizer rounds no layer, or is named for nothing."""
    rounded = [each for each in request.policy.policy.bits.values() if is_rounded(each)]
    if not rounded and request.quantizer is not None:
        raise OptionError("quantizer", "the policy rounds no layer")
    if rounded:
        try:
            check_quantizer(TRAINED_QUANTIZERS.build(recipe.quantizer), rounded)
        except UsageError as error:
            raise OptionError("quantizer", str(error)) from None


def check_places(plan: PlannedRecovery | None, traced: TracedModel, policy: Policy) -> None:
    """Whether losses that compare features find any, on a network of the policy's shapes.

    Raises:
        OptionError: No place is of one width in both networks.
    """
    terms = () if plan is None else plan.recipe.made_terms()
    if not any(term.reads_features for term in terms):
        return
    student, _ = network_of(traced, policy)
    objective = Objective(student, (traced.model,), terms, resolution=policy.resolution)
    if not objective.places(torch.zeros(2, *traced.network.input_shape[1:])):
        raise OptionError(
            "recover",
            "hints compares what both networks write inside, and this policy has changed the width"
            " of all of that: ask for kd",
        )


def recovered(
    plan: PlannedRecovery | None,
    request: ApplyRequest,
    traced: TracedModel,
    model: nn.Module,
    on_event: OnEvent,
) -> tuple[nn.Module, tuple[str, ...]]:
    """The model, trained where that is planned; and what the user should know.

    Raises:
        DataError: The training data is not as described.
        StudyError: A checkpoint of another recovery is in the way.
    """
    if plan is None:
        return model, ()
    task, resolution = request.task, request.policy.policy.resolution
    seed = (request.policy.seed if request.seed is None else request.seed) or 0
    calibration = [*task.data.calibration]
    shown = [resized(each, resolution) for each, _ in calibration]
    forms = packed_forms(request.policy.policy)
    if forms:
        student: nn.Module = FormedStudent(model, forms, traced.model)
    else:
        student = _student(model, plan.recipe, shown, traced.model, seed)
    training = task.data.training
    data = RecoveryData(
        calibration if training is None else training,
        lambda network: judge(network, task.score, task.data.validation, resolution),
        () if training is None else (training.source,),
        seed,
    )
    classes = has_classes(traced.model, task.data)
    if plan.seconds:
        climber = Climber(student, traced.model, calibration, data, resolution, classes)
        rungs = climber.climb(plan.seconds, lambda name, done, of: on_event(Event(name, done, of)))
        said = tuple(map(_told_rung, rungs))
    else:
        plan.recipe.made_start().begin(Beginning(student, seed=seed))
        terms = plan.recipe.made_terms()
        objective = Objective(
            student, (traced.model,), terms, resolution=resolution, classes=classes
        )
        found = recover(
            objective,
            data,
            plan.recipe,
            checkpoint=checkpoint_of(request.out),
            on_step=lambda done, of: on_event(Event(STAGE, done, of)),
        )
        said = _told(found, plan.recipe)
    cut = training is not None and training.cut
    told = (*said, *((_CUT,) if cut else ()))
    if isinstance(student, QuantizedStudent | FormedStudent):
        return student.frozen(), told
    return without_norms(student), told


def _student(
    model: nn.Module, recipe: RecoveryRecipe, inputs: Sequence[Tensor], dense: nn.Module, seed: int
) -> nn.Module:
    """What is trained: of few bits with what rounds to learn, of floats with norms put back."""
    if isinstance(model, QuantizedModel):
        quantizer = TRAINED_QUANTIZERS.build(recipe.quantizer)
        return QuantizedStudent(model, quantizer, inputs, dense=dense, seed=seed)
    return with_norms(model, inputs)


_CUT = (
    f"the training data does not say how much it is: an epoch was {EPOCH:,} inputs, and the next"
    " went on behind them"
)


def checkpoint_of(out: Path) -> Path:
    """Where a recovery is written while it lasts, beside the weights that it will give."""
    return out.with_name(f"{out.name}.recovery")


def _told(found: Recovered, recipe: RecoveryRecipe) -> tuple[str, ...]:
    """What training came to."""
    what = "+".join(text.partition(":")[0] for text in recipe.terms)
    took = f"{found.steps:,} steps in {_duration(found.seconds)}"
    scores = ""
    if found.before is not None and found.reached is not None:
        scores = f": {found.before:.4g} before, {found.reached:.4g} after, on the validation data"
    said = [f"recovery by {what}, {took}{scores}"]
    if found.stopped:
        said.append(f"recovery ended early: {found.stopped}")
    if found.kept == "first":
        said.append("the training made nothing better: the weights are those from before it")
    return tuple(said)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def _told_rung(rung: Rung) -> str:
    kept = "kept" if rung.kept else "not kept"
    steps = f"{rung.steps:,} steps, " if rung.steps else ""
    return (
        f"recovery, {rung.name}: {rung.before:.4g} to {rung.after:.4g} on the validation data"
        f" ({steps}{_duration(rung.seconds)}; {kept})"
    )
