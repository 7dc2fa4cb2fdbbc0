"""A supernet's slices come nearer to the dense network, and a kill changes nothing."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from test_sliced_weights import SHAPE, Net, images, kept
from torch import Tensor
from torch.nn import functional as F

from automl.errors import DataError, StudyError
from automl.network.traced_model import TracedModel, trace_network
from automl.network.unfold import with_norms
from automl.policy.policy import Policy
from automl.recovery.loop import RecoveryData
from automl.recovery.sliced_weights import SlicedWeights
from automl.recovery.supernet import Supernet, TrainingLimit
from automl.space import Space, Variable

NARROW = Policy({"stem": 4, "wide": 3})


class Drawn:
    """Batches that torch's generator draws anew in each pass."""

    def __len__(self) -> int:
        return 5

    def __iter__(self) -> Iterator[tuple[Tensor, None]]:
        for _ in range(5):
            yield torch.randn(16, *SHAPE[1:]), None


@pytest.fixture(scope="module")
def traced() -> TracedModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Net().eval()
        with torch.no_grad():
            model.head.weight.mul_(8)  # it is sure of something
        return trace_network(model, SHAPE, resolutions=())


def supernet(traced: TracedModel, seed: int = 0, digest: str = "") -> Supernet:
    space = Space(
        (Variable("channels", "stem", (2, 4, 8)), Variable("channels", "wide", (1, 3, 6)))
    )
    inputs = [images(32), images(16)]
    shared = SlicedWeights(with_norms(traced.model, inputs), traced.network, kept)
    data = RecoveryData(Drawn(), seed=seed, digest=digest)
    return Supernet(shared, space, traced.model, data, inputs)


def distance(traced: TracedModel, made: Supernet, policy: Policy) -> float:
    shown = torch.randn(64, *SHAPE[1:], generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        said, wanted = made(policy)(shown).log_softmax(1), traced.model(shown).log_softmax(1)
    return float(F.kl_div(said, wanted, log_target=True, reduction="batchmean"))


def test_slices_come_nearer_and_the_largest_stays_the_nearest(
    traced: TracedModel, tmp_path: Path
) -> None:
    before, after = supernet(traced), supernet(traced)
    assert after.train(TrainingLimit(steps=60), tmp_path / "supernet.pt") == 60
    narrow = Policy({"stem": 2, "wide": 1}), NARROW
    for policy in narrow:
        assert distance(traced, after, policy) < 0.9 * distance(traced, before, policy)
    assert distance(traced, after, Policy()) < distance(traced, after, NARROW)


def test_a_step_trains_the_largest_the_smallest_and_two_between(
    traced: TracedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, sliced = list[tuple[int, ...]](), SlicedWeights.slice

    def noted(self: SlicedWeights, policy: Policy) -> object:
        seen.append(tuple(policy.channels.values()))
        return sliced(self, policy)

    monkeypatch.setattr(SlicedWeights, "slice", noted)
    supernet(traced).train(TrainingLimit(steps=6), tmp_path / "supernet.pt")
    assert len(seen) == 18  # the largest is not sliced
    assert set(seen[::3]) == {(2, 1)}
    assert len({*seen}) > 4


def test_what_was_killed_goes_on_to_the_same_weights(traced: TracedModel, tmp_path: Path) -> None:
    """In the middle of the second pass over the data, a few steps after a checkpoint."""
    whole, path = supernet(traced), tmp_path / "killed.pt"
    whole.train(TrainingLimit(steps=12), tmp_path / "whole.pt")
    told = list[float]()

    def killed(share: float) -> None:
        told.append(share)
        if len(told) == 8:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("automl.recovery.supernet._EVERY", 0.0)
        with pytest.raises(KeyboardInterrupt):
            supernet(traced).train(TrainingLimit(steps=12), path, killed)
    again, more = supernet(traced), list[float]()
    assert again.train(TrainingLimit(steps=12), path, more.append) == 12
    assert len(more) == 4
    first, second = whole(NARROW).state_dict(), again(NARROW).state_dict()
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    more.clear()
    supernet(traced).train(TrainingLimit(steps=12), path, more.append)  # read, not trained
    assert not more


def test_time_is_counted_over_all_runs(traced: TracedModel, tmp_path: Path) -> None:
    path = tmp_path / "supernet.pt"
    steps = supernet(traced).train(TrainingLimit(seconds=0.3), path)
    assert steps > 0
    assert supernet(traced).train(TrainingLimit(seconds=0.3), path) == steps


def test_that_of_another_search_is_refused(traced: TracedModel, tmp_path: Path) -> None:
    path = tmp_path / "supernet.pt"
    supernet(traced).train(TrainingLimit(steps=1), path)
    with pytest.raises(StudyError, match="another"):
        supernet(traced, seed=1).train(TrainingLimit(steps=1), path)
    with pytest.raises(StudyError, match="another"):
        supernet(traced, digest="other data").train(TrainingLimit(steps=1), path)
    with pytest.raises(StudyError, match="another"):
        supernet(traced).train(TrainingLimit(steps=2), path)


def test_the_dense_network_is_left_as_it_was(traced: TracedModel, tmp_path: Path) -> None:
    before = copy.deepcopy(traced.model.state_dict())
    supernet(traced).train(TrainingLimit(steps=2), tmp_path / "supernet.pt")
    after = traced.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_without_data_it_is_said(traced: TracedModel, tmp_path: Path) -> None:
    made = supernet(traced)
    made._data = RecoveryData([])
    with pytest.raises(DataError, match="no training data for a supernet"):
        made.train(TrainingLimit(steps=2), tmp_path / "supernet.pt")
