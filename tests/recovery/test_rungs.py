"""Rungs: each is tried, and kept where the held-back score says so."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from recoverable import batches, pair
from torch import nn

from automl.compression import further_parts, in_place
from automl.network.traced_model import trace_network
from automl.network.unfold import norm_moments
from automl.policy import Policy
from automl.recovery.base import TrainingPoint
from automl.recovery.formed import FormedStudent, student_of_floats
from automl.recovery.loop import RecoveryData
from automl.recovery.rungs import Climber

#: Of masks all layers' norms are back; beside shared values those of the other layers.
FORMS = ("unstructured:50", "2:4", "clustered:40-4")


def climber(score: object = None, form: str = "") -> tuple[Climber, nn.Module]:
    """A student whose weights are spoilt, held against its teacher's outputs.

    Args:
        score: In place of the outputs' mean squared difference.
        form: Of its first block's first layer.
    """
    teacher = trace_network(pair()[0], (1, 3, 8, 8), resolutions=()).model
    spoilt = copy.deepcopy(teacher)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, value in spoilt.named_parameters():
            if "head" not in name:
                value.add_(0.1 * torch.randn(value.shape, generator=generator))
    if form:
        policy = Policy(further={"form": {"blocks.0.conv1": form}})
        in_place(spoilt, further_parts(spoilt, policy)).requires_grad_(False)
    held = torch.randn(32, 3, 8, 8, generator=generator)

    def near(network: nn.Module) -> float:
        with torch.no_grad():
            return -float((network(held) - teacher(held)).square().mean())

    data = RecoveryData(batches(), score or near)  # type: ignore[arg-type]
    student = student_of_floats(spoilt, [inputs for inputs, _ in batches()], teacher)
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


@pytest.mark.parametrize("form", FORMS)
def test_norms_are_matched_beside_a_layer_of_a_form(form: str) -> None:
    climbing, spoilt = climber(form=form)
    assert isinstance(climbing.student, FormedStudent)
    first = climbing.climb(1e-9)[0]  # no time for a step
    assert first.name == "norms"
    assert first.kept
    assert first.after > first.before
    score = climbing.data.held_back
    assert score is not None
    delivered = climbing.student.frozen()
    assert score(delivered) == pytest.approx(first.after, rel=1e-4)
    assert first.before == pytest.approx(score(spoilt), rel=1e-4)


@pytest.mark.parametrize(("form", "count"), [*zip(FORMS, (4, 4, 3), strict=True)])
def test_those_that_are_back_write_what_the_dense_network_writes(form: str, count: int) -> None:
    climbing, _ = climber(form=form)
    climbing.climb(1e-9)
    wanted = norm_moments(climbing.dense, [inputs for inputs, _ in batches()])
    norms = {
        name.removeprefix("network."): module
        for name, module in climbing.student.named_modules()
        if isinstance(module, nn.BatchNorm2d)
    }
    assert len(norms) == count
    for name, norm in norms.items():
        torch.testing.assert_close(norm.bias.double(), wanted[name].mean, rtol=1e-5, atol=1e-6)
