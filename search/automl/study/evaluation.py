"""Scoring a policy: make its network, finish it, judge it on data that its refit has not seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from automl.compression import Compressor, RefitSettings, resized
from automl.policy import Policy
from automl.study.early_stopping import should_stop
from automl.study.judging import judge
from automl.study.problem import Evaluation
from automl.userdata import (
    CONFIDENCE,
    FEW,
    LOGITS,
    SATURATED,
    Batches,
    Confidence,
    ImageScore,
    Logits,
    Score,
    in_passes,
    top1_accuracy,
)

Tensor = torch.Tensor
#: The finishing step of a candidate: a share of the images and rows of the final one.
IN_THE_LOOP = RefitSettings(images=256, rows=8_000, refine=False)
#: Fewest of its images, and multiply-accumulates of the dense network on all of them: large images
#: give many rows each.
FEWEST_IMAGES: Final = 64
IN_THE_LOOP_MACS: Final = 32e9
#: Images that are scored between two looks at whether a candidate can still win.
CHUNK: Final = 64
#: Fewest images of which it is said that a network is at chance,
FEWEST: Final = 30
#: where its accuracy is not so many standard errors better.
_ERRORS: Final = 3.0


def refit_in_the_loop(macs: float) -> RefitSettings:
    """The finishing step of a candidate of a network that takes so many multiply-accumulates."""
    affordable = int(IN_THE_LOOP_MACS / max(macs, 1.0))
    return replace(IN_THE_LOOP, images=min(IN_THE_LOOP.images, max(FEWEST_IMAGES, affordable)))


@dataclass(frozen=True, slots=True)
class Ranking:
    """What a search ranks candidates by.

    Attributes:
        score: Larger is better.
        note: Why that is not the score that was asked for, or what is strange about it; else "".
        name: What it is called where it is another than the one asked for; else "".
        dense: The dense network's; None of a score of the user's own.
    """

    score: Score
    note: str = ""
    name: str = ""
    dense: float | None = field(default=None, compare=False)


def ranking(score: Score, dense: nn.Module, validation: Batches) -> Ranking:
    """The score that candidates are to be ranked by: another where accuracy would tell little.

    On images that the network was trained on nearly all are right, of candidates too, and of few
    images one more is a large step. The probability of the right class ranks as accuracy does on
    other images, and logits do not where resolutions are compared (docs/scoring.md).

    Args:
        score: The user's, or the default.
        dense: The network as it came.
        validation: What candidates are scored on.

    Raises:
        DataError: Targets that the default score cannot read.
    """
    if score is not top1_accuracy:
        known = isinstance(score, ImageScore)
        return Ranking(score, dense=judge(dense, score, validation) if known else None)
    classes = top1_accuracy.reference(validation).rows
    if len(classes.unique()) == 1:
        reason = "all validation inputs are of one class"
        note = (
            f"{reason}: candidates are ranked by how near their logits are to the dense network's"
        )
        return _by(Logits(dense), note, LOGITS, dense, validation)
    found = judge(dense, score, validation)
    if _at_chance(found, classes):
        most = _commonest(classes)
        note = (
            f"the dense network is at chance: it is right on {100 * found:.1f} % of the validation"
            f" inputs, and the most frequent class alone would be on {100 * most:.1f} %; are the"
            " weights, the labels and what was done with the inputs those of its training?"
        )
        return Ranking(score, note)
    if found >= SATURATED:
        reason = f"the dense network is right on {100 * found:.1f} % of the validation inputs"
    elif len(classes) < FEW:
        reason = f"one of {len(classes)} validation inputs is {100 / len(classes):.1f} points"
    else:
        return Ranking(score, dense=found)
    note = f"{reason}: candidates are ranked by the {CONFIDENCE}"
    return _by(Confidence(), note, CONFIDENCE, dense, validation)


def _by(score: Score, note: str, name: str, dense: nn.Module, validation: Batches) -> Ranking:
    return Ranking(score, note, name, judge(dense, score, validation))


def _at_chance(accuracy: float, classes: Tensor) -> bool:
    """Whether an accuracy may be that of a network that ignores its inputs: one class for all."""
    count = len(classes)
    share = _commonest(classes)
    error = (share * (1.0 - share) / count) ** 0.5
    return count >= FEWEST and accuracy <= share + _ERRORS * error


def _commonest(classes: Tensor) -> float:
    """Share of the images that the most frequent class has."""
    return float(classes.unique(return_counts=True)[1].max()) / len(classes)


class Evaluator:
    """The score of a policy's finished network on validation data.

    The finishing step is in the loop, on fewer images than the final one takes: a search that
    scores candidates without it prefers the wrong ones. Whatever was found of a policy is
    remembered: the same policy takes no image twice.

    Args:
        compressor: Makes the networks.
        validation: What they are judged on.
        score: Larger is better.
        refit: Of the finishing step in the loop.
        seed: Of the order in which images are shown to candidates.
        candidates: Makes the network that stands for a policy's, in place of the finishing step;
            the same one whenever it is asked. None for the finishing step.
    """

    def __init__(
        self,
        compressor: Compressor,
        validation: Batches,
        score: Score,
        refit: RefitSettings = IN_THE_LOOP,
        *,
        seed: int = 0,
        candidates: Callable[[Policy], nn.Module] | None = None,
    ) -> None:
        self._compressor, self.validation = compressor, validation
        self._candidates = candidates
        self._score, self._refit, self._seed = score, refit, seed
        self._panel: _Panel | None = None
        #: One value an image in the order shown; of a score without those, the score alone.
        self._values: dict[Policy, NDArray[np.float64]] = {}

    def __call__(self, policy: Policy) -> float:
        """The score of one policy, on all validation images."""
        return self.evaluate_against(policy, None).score

    def evaluate_against(self, policy: Policy, incumbent: Policy | None) -> Evaluation:
        """The score of one policy, given up when it cannot any more beat the incumbent.

        A candidate that is given up (see `early_stopping`) scores what the incumbent does plus
        their mean difference so far. A score that has no value an image is always taken whole.

        Args:
            policy: The candidate.
            incumbent: Scored on all images before, or again now; None to take all images.
        """
        if not isinstance(self._score, ImageScore):
            if policy not in self._values:
                found = judge(self._make(policy), self._score, self.validation, policy.resolution)
                self._values[policy] = np.array([found])
            return Evaluation(float(self._values[policy][0]), self.validation.images)
        panel = self._shown(self._score)
        rival = None if incumbent is None else self._whole(panel, incumbent)
        values = self.recall(policy)
        model: nn.Module | None = None
        for end in panel.looks:
            if len(values) < end:
                model = model or self._make(policy)
                more = panel.values(model, policy.resolution, len(values), end)
                values = self._values[policy] = np.concatenate([values, more])
            if rival is not None and end < panel.images:
                differences = values[:end] - rival[:end]
                most = float((self._score.best - rival).max())
                if should_stop(differences, panel.images, most):
                    return Evaluation(float(rival.mean() + differences.mean()), end)
        return Evaluation(float(values.mean()), panel.images)

    def recall(self, policy: Policy) -> NDArray[np.float64]:
        """What was found of a policy so far, for another evaluator of the same arguments."""
        return self._values.get(policy, np.empty(0))

    def remember(self, policy: Policy, found: NDArray[np.float64]) -> None:
        """Take what another evaluator of the same arguments has found of a policy."""
        if len(found) > len(self.recall(policy)):
            self._values[policy] = found

    def _whole(self, panel: _Panel, policy: Policy) -> NDArray[np.float64]:
        if len(self.recall(policy)) < panel.images:
            self.evaluate_against(policy, None)
        return self._values[policy]

    def _make(self, policy: Policy) -> nn.Module:
        if self._candidates is not None:
            return self._candidates(policy).eval()
        return self._compressor.make(policy, settings=self._refit).eval()

    def _shown(self, score: ImageScore) -> _Panel:
        if self._panel is None:
            self._panel = _Panel(self.validation, score, self._seed)
        return self._panel


class _Panel:
    """Validation images in a drawn order, with what outputs are compared with: found once."""

    def __init__(self, validation: Batches, score: ImageScore, seed: int) -> None:
        reference = score.reference(validation)
        self.images = len(reference.rows)
        self._order = torch.randperm(self.images, generator=torch.Generator().manual_seed(seed))
        self._score, self._reference = score, reference[self._order]
        self._inputs = validation.by_number
        self.looks = [*range(CHUNK, self.images, CHUNK), self.images]

    def values(
        self, model: nn.Module, resolution: int, first: int, end: int
    ) -> NDArray[np.float64]:
        """A model's values on the images of these places in the order."""
        inputs = self._inputs[self._order[first:end]]
        with torch.no_grad():
            outputs = in_passes(model, resized(inputs, resolution))
            found = self._score.values(outputs, self._reference[first:end])
        return found.numpy()
