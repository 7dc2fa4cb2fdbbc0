"""What `apply` trains: the made network, with the dense one as teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from automl.compression import QuantizedModel, is_rounded, noted_forms, resized
from automl.errors import OptionError, UsageError
from automl.network import TracedModel, without_norms
from automl.options import AskedRecovery, recovery_of
from automl.pipeline.networks import network_of
from automl.pipeline.requests import ApplyRequest, Event, OnEvent
from automl.pipeline.rewinding import cut_weights
from automl.pipeline.writing import packs
from automl.policy import Policy
from automl.recovery import (
    TERMS,
    TRAINED_QUANTIZERS,
    Beginning,
    Climber,
    FormedStudent,
    Hooks,
    Objective,
    QuantizedStudent,
    Recovered,
    RecoveryData,
    RecoveryRecipe,
    Rung,
    TrainingPoint,
    check_quantizer,
    read_recipe,
    recover,
    student_of_floats,
    without_dead,
)
from automl.study import judge
from automl.userdata import EPOCH, data_digest, has_classes

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
    if request.hook:
        recipe = replace(recipe, hooks=(*recipe.hooks, *request.hook))
        recipe.made_hooks()
    recipe.made_start().check(request.task.model.state_dict())
    labelled = all(targets is not None for _, targets in request.task.data.validation)
    for text in recipe.terms:
        method = TERMS.get(TERMS.check(text).name)
        if "labels" in method.needs and not labelled:
            raise OptionError("recover", f"{method.name} needs targets, and the data has none")
    rounds = any(map(is_rounded, request.policy.policy.bits.values()))
    normed = [
        each
        for each in map(TERMS.check, recipe.terms)
        if "original-norms" in TERMS.get(each.name).needs
    ]
    if rounds and normed:
        raise OptionError("recover", f"{normed[0].name} draws at norms, which integers have folded")
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


def check_hooks(plan: PlannedRecovery | None, traced: TracedModel, policy: Policy) -> None:
    """Whether hooks have something to do, on a network of the policy's shapes.

    Raises:
        OptionError: One has not.
    """
    if plan is None or not plan.recipe.hooks:
        return
    hooks = plan.recipe.made_hooks()
    of_floats = [
        text for text, hook in zip(plan.recipe.hooks, hooks, strict=True) if hook.acts_on != "bits"
    ]
    if policy.bits and not of_floats:
        return
    if policy.bits:
        raise OptionError("hook", f"{of_floats[0]} acts on floats, and the policy has bits")
    made, shape = network_of(traced, policy)
    shown = [torch.randn(8, *shape[1:], generator=torch.Generator())]
    try:
        student = student_of_floats(made, shown, traced.model)
        Hooks(hooks).begin(student, torch.zeros(1, *shape[1:]))
    except UsageError as error:
        raise OptionError("hook", str(error)) from None


def check_places(plan: PlannedRecovery | None, traced: TracedModel, policy: Policy) -> None:
    """Whether losses that compare features find any, on a network of the policy's shapes.

    Raises:
        OptionError: No place is of one width in both networks.
    """
    terms = () if plan is None else plan.recipe.made_terms()
    if plan is not None and not traced.norm_scales:
        for text in plan.recipe.terms:
            name = TERMS.check(text).name
            if "original-norms" in TERMS.get(name).needs:
                raise OptionError("recover", f"{name} draws at batch norms, and there are none")
    if plan is None or not any(term.reads_features for term in terms):
        return
    student, _ = network_of(traced, policy)
    objective = Objective(student, (traced.model,), terms, resolution=policy.resolution)
    reading = [
        TERMS.check(text).name
        for text, term in zip(plan.recipe.terms, terms, strict=True)
        if term.reads_features
    ]
    places = objective.places(torch.zeros(2, *traced.network.input_shape[1:]))
    if not places:
        raise OptionError(
            "recover",
            f"{reading[0]} compares what both networks write inside, and this policy has changed"
            " the width of all of that: ask for kd",
        )
    if "fsp" in reading and len(places) < 2:
        raise OptionError("recover", "fsp compares two places, and widths agree in one alone")


def recovered(
    plan: PlannedRecovery | None,
    request: ApplyRequest,
    traced: TracedModel,
    model: nn.Module,
    kept: Mapping[str, Tensor] | None,
    on_event: OnEvent,
) -> tuple[nn.Module, tuple[str, ...]]:
    """The model, trained where that is planned; and what the user should know.

    Args:
        plan, request: What is asked for.
        traced: The dense network, read.
        model: The policy's.
        kept: Per channel group that lost some, which stay; None where nobody knows.
        on_event: Told of progress.

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
    student = _student(model, plan.recipe, shown, traced.model, seed)
    training = task.data.training
    data = RecoveryData(
        calibration if training is None else training,
        lambda network: judge(network, task.score, task.data.validation, resolution),
        () if training is None else (training.source,),
        seed,
        data_digest(task.data),
    )
    if plan.seconds:
        classes = has_classes(traced.model, task.data)
        climber = Climber(student, traced.model, calibration, data, resolution, classes)
        rungs = climber.climb(plan.seconds, lambda name, point: on_event(_told_point(name, point)))
        said = tuple(map(_told_rung, rungs))
    else:
        found = _by_recipe(plan, request, traced, student, kept, data, on_event)
        said = _told(found, plan.recipe)
    cut = training is not None and training.cut
    told = (*said, *((_CUT,) if cut else ()))
    if isinstance(student, QuantizedStudent):
        return student.frozen(), told
    made = student.frozen() if isinstance(student, FormedStudent) else without_norms(student)
    if not any(hook.leaves == "channels" for hook in plan.recipe.made_hooks()):
        return made, told
    example = resized(calibration[0][0][:1], resolution)
    made, gone, of = without_dead(made, example, noted_forms(made))
    return made, (*told, *_told_cut(gone, of))


def _by_recipe(
    plan: PlannedRecovery,
    request: ApplyRequest,
    traced: TracedModel,
    student: nn.Module,
    kept: Mapping[str, Tensor] | None,
    data: RecoveryData,
    on_event: OnEvent,
) -> Recovered:
    """Begin as the recipe says, and train."""
    policy, dense, values = request.policy.policy, request.task.model, student.state_dict()

    def cut(first: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return cut_weights(first, dense, traced, kept or {}, policy, values)

    plan.recipe.made_start().begin(Beginning(student, data.seed, None if kept is None else cut))
    terms, classes = plan.recipe.made_terms(), has_classes(traced.model, request.task.data)
    return recover(
        Objective(student, (traced.model,), terms, resolution=policy.resolution, classes=classes),
        data,
        plan.recipe,
        checkpoint=checkpoint_of(request.out),
        on_point=lambda point: on_event(_told_point(STAGE, point)),
    )


def _student(
    model: nn.Module, recipe: RecoveryRecipe, inputs: Sequence[Tensor], dense: nn.Module, seed: int
) -> nn.Module:
    """What is trained: of few bits with what rounds to learn, of floats with norms put back."""
    if isinstance(model, QuantizedModel):
        quantizer = TRAINED_QUANTIZERS.build(recipe.quantizer)
        return QuantizedStudent(model, quantizer, inputs, dense=dense, seed=seed)
    return student_of_floats(model, inputs, dense)


_CUT = (
    f"the training data does not say how much it is: an epoch was {EPOCH:,} inputs, and the next"
    " went on behind them"
)


def checkpoint_of(out: Path) -> Path:
    """Where a recovery is written while it lasts, beside the weights that it will give."""
    return out.with_name(f"{out.name}.recovery")


def _told_point(stage: str, point: TrainingPoint) -> Event:
    return Event(stage, point.step, point.total, training=point)


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
    said += found.told
    if found.kept == "first":
        said.append("the training made nothing better: the weights are those from before it")
    return tuple(said)


def _told_cut(gone: int, of: int) -> tuple[str, ...]:
    """What a network without dead channels is, beside the policy's."""
    if not gone:
        return ("no channel is zero for all that reads it: the shapes are the policy's",)
    return (
        f"{gone} of {of} channels were zero and are cut out: the weights have other shapes than the"
        " policy says; export the source as .py for a network that loads them",
    )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def _told_rung(rung: Rung) -> str:
    kept = "kept" if rung.kept else "not kept"
    steps = f"{rung.steps:,} steps, " if rung.steps else ""
    return (
        f"recovery, {rung.name}: {rung.before:.4g} to {rung.after:.4g} on the validation data"
        f" ({steps}{_duration(rung.seconds)}; {kept})"
    )
