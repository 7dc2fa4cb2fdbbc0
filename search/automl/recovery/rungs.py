"""A recovery in rungs: from what costs least to what costs most, each kept where it helps."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from statistics import median
from typing import Any, Final

import torch
from torch import nn

from automl.network import match_norms
from automl.recovery.base import TrainingPoint
from automl.recovery.loop import Recovered, RecoveryData, recover
from automl.recovery.objective import Objective, network_inside
from automl.recovery.recipe import RecoveryRecipe

Tensor = torch.Tensor
#: Share of the time that blocks are distilled for; the rest is for all of it end to end.
_BLOCKS: Final = 0.25
#: What the rungs minimise.
_LOCAL: Final = ("hints:local=true",)
_WHOLE: Final = ("kd", "hints")
#: Passes over the data that no time allows.
_ENDLESS: Final = 1_000_000
#: Steps that are timed.
_TIMED: Final = 4


#: Told (rung, a loss or a held-back score).
OnPoint = Callable[[str, TrainingPoint], None]


@dataclass(frozen=True, slots=True)
class Rung:
    """What one rung came to.

    Attributes:
        name: What was done.
        before, after: Held-back scores; `after` is what it came to, kept or not.
        kept: Whether the student has its weights.
        seconds: Wall time.
        steps: Of training.
    """

    name: str
    before: float
    after: float
    kept: bool
    seconds: float
    steps: int = 0


@dataclass(frozen=True, slots=True)
class Climber:
    """A student on its way up.

    Attributes:
        student: With its norms put back; trained in place.
        dense: The traced model that it was made of.
        calibration: Batches of (inputs, targets) that its weights were fitted on.
        data: What the whole network is trained on, with a held-back score.
        resolution: What the student's inputs are resized to; 0 for none.
        classes: Whether outputs of rows are scores of classes.
    """

    student: nn.Module
    dense: nn.Module
    calibration: Sequence[tuple[Tensor, Any]]
    data: RecoveryData
    resolution: int = 0
    classes: bool = True

    def climb(
        self, seconds: float, on_point: OnPoint = lambda name, point: None
    ) -> tuple[Rung, ...]:
        """Norms matched, then blocks distilled where any agree, then all of it end to end.

        Args:
            seconds: Of wall time in all. What one step takes is measured, and as many are made as
                there is time for: other machines, other weights.
            on_point: Told (rung, a loss or a held-back score).

        Raises:
            DataError: There is no data.
        """
        start = time.monotonic()
        rungs = [self._norms()]
        blocks = replace(self.data, training=self.calibration, loaders=())
        local = self._objective(_LOCAL, self.student)
        comparable = bool(self.calibration and local.places(self.calibration[0][0]))
        whole = _WHOLE if comparable else _WHOLE[:1]
        steps: list[tuple[str, tuple[str, ...], RecoveryData, float]]
        steps = [("blocks", _LOCAL, blocks, _BLOCKS)] if comparable else []
        steps.append(("end to end", whole, self.data, 1.0))
        for name, terms, data, share in steps:
            left = seconds - (time.monotonic() - start)
            if left > 0:
                told = partial(on_point, name)
                rungs.append(self._trained(name, terms, data, left * share, told))
        return tuple(rungs)

    def _objective(self, terms: tuple[str, ...], student: nn.Module) -> Objective:
        return Objective(
            student,
            (self.dense,),
            RecoveryRecipe(terms=terms).made_terms(),
            resolution=self.resolution,
            classes=self.classes,
        )

    def _norms(self) -> Rung:
        judge = self.data.held_back
        assert judge is not None
        start = time.monotonic()
        first = {name: each.clone() for name, each in self.student.state_dict().items()}
        self.student.eval()
        before = judge(self.student)
        batches = [inputs for inputs, _ in self.calibration]
        inside = network_inside(self.student)
        matched = 0 if self.resolution else match_norms(inside, self.dense, batches, self.student)
        after = judge(self.student) if matched else before
        if after <= before:
            self.student.load_state_dict(first)
        return Rung("norms", before, after, after > before, time.monotonic() - start)

    def _trained(
        self,
        name: str,
        terms: tuple[str, ...],
        data: RecoveryData,
        seconds: float,
        on_point: Callable[[TrainingPoint], None],
    ) -> Rung:
        start = time.monotonic()
        each, judging = self._step_seconds(terms, data)
        left = seconds - (time.monotonic() - start) - judging
        steps = max(1, int(left / max(each, 1e-6)))
        found: Recovered = recover(
            self._objective(terms, self.student),
            data,
            RecoveryRecipe(epochs=_ENDLESS, steps=steps),
            on_point=on_point,
        )
        assert found.before is not None
        reached = found.before if found.reached is None else found.reached
        kept = found.kept != "first"
        return Rung(name, found.before, reached, kept, time.monotonic() - start, found.steps)

    def _step_seconds(self, terms: tuple[str, ...], data: RecoveryData) -> tuple[float, float]:
        """What a step takes about, and what looking at held-back data before and after does.

        Some steps of a copy are made: the first is not counted, of the others it is the median.
        """
        copied, moments = copy.deepcopy(self.student), [time.monotonic()]
        recover(
            self._objective(terms, copied),
            replace(data, held_back=None),
            RecoveryRecipe(epochs=_ENDLESS, steps=_TIMED),
            on_step=lambda done, of: moments.append(time.monotonic()),
        )
        took = [after - before for before, after in pairwise(moments)]
        assert data.held_back is not None
        start = time.monotonic()
        data.held_back(copied.cpu().eval().requires_grad_(False))
        return median(took[1:] or took), 2 * (time.monotonic() - start)
