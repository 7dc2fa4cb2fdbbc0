"""Rungs: each is tried, and kept where the held-back score says so."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from recoverable import batches, pair
from torch import nn

from automl.network.traced_model import trace_network
from automl.network.unfold import with_norms
from automl.recovery.base import TrainingPoint
from automl.recovery.loop import RecoveryData
from automl.recovery.rungs import Climber


def climber(score: object = None) -> tuple[Climber, nn.Module]:
    """A student whose weights are spoilt, held against its teacher's outputs."""
    teacher = trace_network(pair()[0], (1, 3, 8, 8), resolutions=()).model
    spoilt = copy.deepcopy(teacher)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, value in spoilt.named_parameters():
            if "head" not in name:
                value.add_(0.1 * torch.randn(value.shape, generator=generator))
    held = torch.randn(32, 3, 8, 8, generator=generator)

    def near(network: nn.Module) -> float:
        with torch.no_grad():
            return -float((network(held) - teacher(held)).square().mean())

    data = RecoveryData(batches(), score or near)  # type: ignore[arg-type]
    student = with_norms(spoilt, [inputs for inputs, _ in batches()])
    return Climber(student, teacher, batches(), data), spoilt


def test_each_rung_brings_something_here() -> None:
    climbing, _ = climber()
    told: dict[str, list[TrainingPoint]] = {}
    rungs = climbing.climb(2.0, lambda name, point: told.setdefault(name, []).append(point))
    assert [rung.name for rung in rungs] == ["norms", "blocks", "end to end"]
    assert set(told) == {"blocks", "end to end"}
    for points in told.values():
        assert all(point.total is not None and point.step <= point.total for point in points)
        assert {point.loss is None for point in points} == {True, False}
    for rung, after in itertools.pairwise(rungs):
        assert after.before == pytest.approx(rung.after if rung.kept else rung.before)
    assert rungs[-1].after > rungs[0].before
    assert all(rung.steps for rung in rungs[1:])


def test_what_makes_nothing_better_is_not_kept() -> None:
    first: list[dict[str, torch.Tensor]] = []

    def falling(network: nn.Module) -> float:
        first.append({name: each.clone() for name, each in network.state_dict().items()})
        return -float(len(first))

    climbing, _ = climber(falling)
    rungs = climbing.climb(0.5)
    assert not any(rung.kept for rung in rungs)
    values = climbing.student.state_dict()
    assert all(torch.equal(each, values[name]) for name, each in first[0].items())
