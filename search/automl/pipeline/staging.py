"""A search in stages: pruned a little, trained, pruned again, until the budget is met."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from torch import nn

from automl.errors import OptionError, StudyError
from automl.export import export_onnx
from automl.network import TracedModel
from automl.options import AskedRecovery, recovery_of
from automl.pipeline.certainty import with_errors
from automl.pipeline.context import DenseScore, price_request, trace_request
from automl.pipeline.finishing import apply
from automl.pipeline.lineage import beside, composed, digest_of_policy, staged_model
from automl.pipeline.networks import input_shape
from automl.pipeline.ownership import own_folder
from automl.pipeline.recovering import plan_recovery
from automl.pipeline.requests import (
    ApplyRequest,
    Event,
    Metrics,
    OnEvent,
    SearchRequest,
    SearchResult,
)
from automl.pipeline.results import predicted
from automl.pipeline.writing import examples, save_weights
from automl.policy import Lineage, PolicyFile, Predicted, check_fits, read_policy, write_policy
from automl.study import judge_each
from automl.units import parse_budget
from automl.userdata import data_digest, weights_digest

#: What stages choose from: what is chosen of a network that was cut before.
CHOICES = ("channels", "blocks")
#: What a stage's training left, beside its policy; `apply` writes its own file beside that.
WEIGHTS = "staged.pt"
#: In a stage's folder: its policy relative to the dense network, written when the stage is done.
DONE = "staged.json"


#: One search, as `automl.pipeline.search`.
Search = Callable[[SearchRequest, OnEvent], SearchResult]


def in_stages(request: SearchRequest) -> bool:
    """Whether a request asks for stages, or for training after the search."""
    return request.stages > 1 or recovery_of(request.recover) != AskedRecovery()


def search_in_stages(request: SearchRequest, on_event: OnEvent, search: Search) -> SearchResult:
    """Search in stages, with training after each.

    Args:
        request: Of which `in_stages` is true.
        on_event: Told of progress.
        search: Searches one stage.

    Raises:
        AutomlError: As the search.
        OptionError: Choices that stages do not make.
    """
    return _Stages(request, on_event, search).run()


@dataclass(frozen=True, slots=True)
class _Stage:
    """What a stage came to.

    Attributes:
        model: Trained, smaller.
        file: Its policy, relative to the dense network.
        result: Of its search; None where it was done before.
    """

    model: nn.Module
    file: PolicyFile
    result: SearchResult | None


class _Stages:
    """One staged search.

    Each stage searches the network that the one before left, within its share of the way to the
    budget: the N-th roots of the whole share, so that each stage takes the same part of what is
    there. Then it is trained as `apply` trains a policy's network.

    Source: the usual prune, train, prune again (Han et al. 2015); as AGP and DepGraph do it at
    hard budgets. Differs: which channels go is found anew in each stage by measured sensitivity.
    """

    def __init__(self, request: SearchRequest, on_event: OnEvent, search: Search) -> None:
        self._request, self._on_event, self._search = _checked(request), on_event, search
        self._dense: Predicted | None = None

    def run(self) -> SearchResult:
        """From the first stage that is not done to the last."""
        request, before = self._request, None
        with ExitStack() as stack:
            stack.enter_context(own_folder(request.out))
            if (request.out / "policy.json").exists() and not request.resume:
                raise StudyError(
                    f"{request.out} holds a policy already: resuming goes on with its stages,"
                    " another folder starts anew",
                    options=("resume", "out"),
                )
            for number in range(1, request.stages + 1):
                before = self._stage(number, before)
        assert before is not None
        return self._finished(before)

    def _stage(self, number: int, before: _Stage | None) -> _Stage:
        """One stage, read where it is done.

        Raises:
            KeyboardInterrupt: It was ended; what it did is in its folder, and is gone on with.
        """
        request = self._request
        folder = request.out / f"stage-{number}"
        dense, task = request.task, replace(request.task.data, test=None)
        stage_task = replace(dense, data=task)
        if before is not None:
            stage_task = replace(stage_task, model=copy.deepcopy(before.model))
        if (folder / DONE).is_file():
            return self._done(folder / DONE, number, before)
        self._on_event(Event(f"stage {number} of {request.stages}", 0, 1))
        own = replace(
            request,
            task=stage_task,
            budget=self._budget(number, before),
            out=folder,
            stages=1,
            recover="0",
            resume=(folder / "study.db").exists(),
        )
        result = self._search(own, self._on_event)
        if result.interrupted:
            raise KeyboardInterrupt
        return self._trained(number, own, result, before)

    def _done(self, path: Path, number: int, before: _Stage | None) -> _Stage:
        """A stage that was done before.

        Raises:
            StudyError: It is of another search.
        """
        file, request = read_policy(path), self._request
        check_fits(file, self._traced.network)
        found, parent = file.lineage, self._parent(before)
        asked = (number, request.stages, parent, request.recover)
        said = found and (found.stage, found.stages, found.parent, found.recovered)
        if said != asked or file.seed != request.seed:
            raise StudyError(
                f"{path} is of another search in stages (another number of them, training, seed,"
                " stage before, weights or data): give another folder",
                options=("out",),
            )
        return _Stage(staged_model(self._traced, file, beside(path)), file, None)

    def _trained(
        self, number: int, own: SearchRequest, result: SearchResult, before: _Stage | None
    ) -> _Stage:
        request, folder = self._request, own.out
        made = apply(
            ApplyRequest(
                task=own.task,
                policy=result.policy,
                out=folder / "model.pt",
                recover=request.recover,
                seed=request.seed,
                tensorboard=request.tensorboard,
            ),
            self._on_event,
        )
        file = composed(self._traced, None if before is None else before.file, result.policy)
        save_weights(made.model, folder / WEIGHTS)
        lineage = Lineage(
            stage=number,
            stages=request.stages,
            parent=self._parent(before),
            recovered=request.recover,
            weights=WEIGHTS,
            weights_digest=beside(folder / DONE).digest(WEIGHTS),
        )
        scored_on = f"{own.task.data.validation.images:,} validation inputs"
        changed = {"lineage": lineage, "score": made.compressed.score, "scored_on": scored_on}
        file = file.model_copy(update={**changed, "budget": own.budget})
        staged_model(self._traced, file, beside(folder / DONE))  # that it is made again so
        write_policy(file, folder / DONE)
        return _Stage(made.model, file, result)

    def _parent(self, before: _Stage | None) -> str:
        """Digest of what a stage began with: the policy before, or the dense weights and data."""
        if before is not None:
            return digest_of_policy(before.file)
        return self._origin

    @cached_property
    def _origin(self) -> str:
        task = self._request.task
        digests = f"{weights_digest(task.model)} {data_digest(task.data)}"
        return hashlib.sha256(digests.encode()).hexdigest()

    @cached_property
    def _traced(self) -> TracedModel:
        """The dense network."""
        return trace_request(self._request)

    def _budget(self, number: int, before: _Stage | None) -> tuple[str, ...]:
        """The limits of a stage, as shares of what the network before it costs."""
        found = []
        for written in self._request.budget:
            limit = parse_budget(written)
            now = 1.0
            if before is None and limit.relative:
                whole = 1.0
            else:
                costs = before.file if before is not None else None
                dense = costs.dense if costs is not None else self._priced()
                whole = cost_of(dense, limit.quantity)
                now = cost_of(costs.predicted, limit.quantity) if costs is not None else whole
            share = limit.value if limit.relative else limit.value / whole
            target = share ** (number / self._request.stages) * whole / now
            unit = {"latency": "%", "macs": "%MACs", "bytes": "%size", "joules": "%energy"}
            found.append(f"{100 * target:.6f}{unit[limit.quantity]}")
        return tuple(found)

    def _priced(self) -> Predicted:
        """What the dense network costs."""
        if self._dense is None:
            network = price_request(self._request, self._on_event)
            self._dense = predicted(network, network.costs.dense)
        return self._dense

    def _finished(self, last: _Stage) -> SearchResult:
        """The last stage's policy and weights as the run's, judged once."""
        request, file = self._request, last.file
        task, lineage = request.task, file.lineage
        assert lineage is not None
        batches = task.judged_on
        scored_on = f"{batches.images:,} {'test' if task.data.test else 'validation'} inputs"
        before = DenseScore(self._traced.model, task, request.score_timeout).judged
        after = judge_each(last.model, task.score, batches, seconds=request.score_timeout)
        for name in (WEIGHTS, "model.pt"):
            save_weights(last.model, request.out / name)
        shape = input_shape(self._traced, file.policy)
        inputs = examples(task, file.policy, shape)
        half = file.target.floats == "fp16"
        export_onnx(last.model, shape, request.out / "model.onnx", inputs, half=half)
        digest = beside(request.out / "policy.json").digest(WEIGHTS)
        file = file.model_copy(
            update={
                "budget": request.budget,
                "lineage": lineage.model_copy(update={"weights_digest": digest}),
            }
        ).with_score(after.score, scored_on)
        write_policy(file, request.out / "policy.json")
        return SearchResult(
            model=last.model.eval(),
            dense=with_errors(_metrics(file.dense), before),
            compressed=with_errors(_metrics(file.predicted), after, before),
            policy=file,
            policy_path=request.out / "policy.json",
            out=request.out,
            trials=0 if last.result is None else last.result.trials,
            target=file.target.description,
            scored_on=scored_on,
            notes=(*task.notes, *self._told()),
            stages=() if last.result is None else last.result.stages,
        )

    def _told(self) -> Iterator[str]:
        """What each stage came to."""
        for number in range(1, self._request.stages + 1):
            file = read_policy(self._request.out / f"stage-{number}" / DONE)
            share = 100 * file.predicted.macs / file.dense.macs
            yield (
                f"stage {number}: {share:.1f} % of the MACs, {file.score:.4g} on the validation"
                f" data after {self._request.recover}"
            )
        yield f"the weights of this policy are {WEIGHTS} beside it: it is made from these alone"


def cost_of(cost: Predicted, quantity: str) -> float:
    """A quantity of what a policy file predicts."""
    names = {"macs": "macs", "bytes": "bytes", "joules": "joules"}
    found = (
        cost.latency_seconds or cost.latency_cycles
        if quantity == "latency"
        else getattr(cost, names[quantity])
    )
    if not found:
        raise OptionError("budget", f"limits {quantity}, which the target does not price")
    return float(found)


def _metrics(cost: Predicted) -> Metrics:
    return Metrics(
        None,
        cost.latency_seconds,
        cost.latency_error,
        None,
        cost.macs,
        cost.bytes,
        cost.joules,
        cost.latency_cycles,
        at_least=cost.at_least,
    )


def _checked(request: SearchRequest) -> SearchRequest:
    """The request with the choices that stages make.

    Raises:
        OptionError: It asks for others, or for what stages cannot be held to.
    """
    if request.choices not in (("auto",), CHOICES) and not set(request.choices) <= set(CHOICES):
        raise OptionError(
            "choices",
            f"are {', '.join(request.choices)}: stages choose among {' and '.join(CHOICES)}",
            options=("stages", "choices"),
        )
    if request.precisions not in (("auto",), ("float",)):
        raise OptionError("precisions", "are rounded after training: stages compute in float")
    for name in ("measure", "storage", "kinds"):
        if getattr(request, name):
            raise OptionError(name, "is for one search, and stages are several")
    choices = CHOICES if request.choices == ("auto",) else request.choices
    found = replace(request, choices=choices, precisions=("float",), resolutions=None)
    empty = PolicyFile.model_construct(further={})
    plan_recovery(
        ApplyRequest(task=found.task, policy=empty, out=Path("model.pt"), recover=found.recover)
    )
    return found
