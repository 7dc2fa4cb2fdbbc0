"""What a loss and a start are unless they say otherwise."""

from __future__ import annotations

import torch
from torch import Tensor

from automl.recovery.base import Step, Term


def test_a_term_reads_outputs_of_teachers_and_no_features() -> None:
    class Mine(Term):
        def __call__(self, step: Step) -> Tensor:
            return step.found[0].sum()

    mine = Mine()
    assert (mine.reads_teachers, mine.reads_features, mine.local) == (True, False, False)
    assert float(mine(Step(torch.zeros(1), None, [torch.ones(2)], []))) == 2.0
