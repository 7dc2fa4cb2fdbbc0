"""Scores of policies: on the policy's own network, at its own resolution."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from automl.compression.compressor import Compressor
from automl.compression.reconstruction.base import RefitSettings
from automl.network.traced_model import trace_network
from automl.policy.policy import Policy
from automl.study.evaluation import (
    CHUNK,
    Evaluator,
    Ranking,
    ranking,
    refit_in_the_loop,
)
from automl.study.judging import Resized, judge
from automl.study.problem import Evaluation
from automl.userdata.data import Batches
from automl.userdata.scores import (
    FEW,
    Accuracy,
    Confidence,
    ImageScore,
    Logits,
    Reference,
    top1_accuracy,
)

SHAPE = (1, 3, 16, 16)


class Net(nn.Module):
    """Two convolutions and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.second(F.relu(self.first(x)))).mean((2, 3)))


def batches(*sizes: int) -> Batches:
    generator = torch.Generator().manual_seed(0)
    return Batches(
        tuple((torch.randn(size, *SHAPE[1:], generator=generator), size) for size in sizes)
    )


def coloured(*sizes: int) -> list[Tensor]:
    """Random images of several colours."""
    generator = torch.Generator().manual_seed(1)
    return [x + 2 * torch.randn(len(x), 3, 1, 1, generator=generator) for x, _ in batches(*sizes)]


def compressor() -> Compressor:
    """Of a network that finds each of its classes in some images."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Net().eval()
    with torch.no_grad():
        model.head.bias -= model(coloured(100)[0]).mean(0)
    traced = trace_network(model, SHAPE, resolutions=(8,))
    return Compressor(traced, batches(6).inputs, {"first": (2, 4), "second": (4,)})


def test_a_model_is_judged_in_evaluation_mode_without_gradients() -> None:
    seen = []

    def score(model: nn.Module, data: Iterable[tuple[Tensor, Any]]) -> float:
        seen.extend([model.training, torch.is_grad_enabled(), data])
        return 1

    validation = batches(2)
    result = judge(Net().train(), score, validation)
    assert (result, type(result)) == (1.0, float)
    assert seen == [False, False, validation]


def test_batches_are_resized_as_they_are_read_again_and_again() -> None:
    resized = Resized(batches(2, 3), 8)
    for _ in range(2):
        assert [(tuple(x.shape), y) for x, y in resized] == [((2, 3, 8, 8), 2), ((3, 3, 8, 8), 3)]


@pytest.mark.parametrize(("resolution", "size"), [(0, 16), (8, 8), (16, 16)])
def test_a_policy_is_scored_on_its_network_at_its_resolution(resolution: int, size: int) -> None:
    made, seen = compressor(), list[tuple[int, ...]]()

    def score(model: nn.Module, data: Iterable[tuple[Tensor, Any]]) -> float:
        for inputs, _ in data:
            seen.append((inputs.shape[-1], *model.get_submodule("first").weight.shape[:1]))  # type: ignore[union-attr,misc]
            last = model(inputs)
        return float(last.sum())

    evaluate = Evaluator(made, batches(5, 1), score, RefitSettings(images=4))
    policy = Policy({"first": 4}, resolution=resolution)
    found = evaluate(policy)
    assert seen == [(size, 4), (size, 4)]
    assert found == evaluate(policy)
    unfinished = judge(made.make(policy, finish=False), score, batches(5, 1), resolution)
    assert found != unfinished


class Counted(Accuracy):
    """Accuracy that notes how many images were scored at once."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.references = 0

    def reference(self, batches: Iterable[tuple[Tensor, Any]]) -> Reference:
        self.references += 1
        return super().reference(batches)

    def values(self, outputs: Tensor, reference: Reference) -> Tensor:
        self.seen.append(len(outputs))
        return super().values(outputs, reference)


def labelled(model: nn.Module, *sizes: int) -> Batches:
    """Random images, their class what the model says."""
    with torch.no_grad():
        return Batches(tuple((x, model(x).argmax(1)) for x in coloured(*sizes)))


@pytest.fixture(scope="module")
def maker() -> Compressor:
    return compressor()


DENSE, HALF, QUARTER = Policy(), Policy({"first": 4}), Policy({"first": 2, "second": 4})


def scored(maker: Compressor, score: ImageScore, *, images: int = 300) -> Evaluator:
    validation = labelled(maker.traced.model, images // 3, images - images // 3)
    return Evaluator(maker, validation, score, RefitSettings(images=4))


def test_an_image_score_is_the_mean_over_all_images_whatever_their_order(
    maker: Compressor,
) -> None:
    evaluate = scored(maker, top1_accuracy)
    assert evaluate(DENSE) == 1.0
    for policy in (HALF, Policy({"first": 4}, resolution=8)):
        model = maker.make(policy, settings=RefitSettings(images=4))
        validation = labelled(maker.traced.model, 100, 200)
        assert evaluate(policy) == judge(model, top1_accuracy, validation, policy.resolution)


def test_logits_at_another_resolution_are_compared_with_the_dense_one(maker: Compressor) -> None:
    validation = batches(5, 1)
    score = Logits(maker.traced.model)
    policy = Policy({"first": 4}, resolution=8)
    evaluate = Evaluator(maker, validation, score, RefitSettings(images=4))
    model = maker.make(policy, settings=RefitSettings(images=4))
    assert evaluate(policy) == pytest.approx(judge(model, score, validation, 8), rel=1e-6)
    with torch.no_grad():
        dense = maker.traced.model(validation.inputs)
        small = model(next(iter(Resized(validation, 8)))[0])
    expected = (small - dense[:5]).square().mean() / dense.var(0).mean()
    first = Logits(maker.traced.model).values(small, score.reference(validation)[:5])
    assert -float(first.mean()) == pytest.approx(float(expected), rel=1e-5)


def test_a_loser_is_given_up_below_the_incumbent(maker: Compressor) -> None:
    score = Counted()
    evaluate = scored(maker, score)
    full = evaluate.evaluate_against(QUARTER, None)
    assert (full.images, sum(score.seen)) == (300, 300)
    fresh = scored(maker, score)
    given_up = fresh.evaluate_against(QUARTER, DENSE)
    assert given_up.images < 300
    assert given_up.images % CHUNK == 0
    assert given_up.score < 1.0
    assert given_up.score == pytest.approx(full.score, abs=0.2)
    assert fresh.evaluate_against(DENSE, QUARTER).images == 300


def test_what_was_found_is_remembered_and_the_dense_outputs_are_kept(maker: Compressor) -> None:
    score = Counted()
    evaluate = scored(maker, score)
    first = evaluate.evaluate_against(QUARTER, DENSE)
    seen = sum(score.seen)
    assert seen == 300 + first.images
    assert evaluate.evaluate_against(QUARTER, DENSE) == first
    assert evaluate.evaluate_against(DENSE, None).images == 300
    assert sum(score.seen) == seen
    assert evaluate.evaluate_against(QUARTER, None).images == 300
    assert (sum(score.seen), score.references) == (600, 1)


def test_what_one_evaluator_found_spares_another_the_work(maker: Compressor) -> None:
    first, counted = scored(maker, top1_accuracy), Counted()
    second = scored(maker, counted)
    assert not len(second.recall(DENSE))
    first(DENSE)
    raced = first.evaluate_against(QUARTER, DENSE)
    for policy in (DENSE, QUARTER):
        second.remember(policy, first.recall(policy))
    assert second.evaluate_against(QUARTER, DENSE) == raced
    assert not counted.seen
    whole = first(QUARTER)
    second.remember(QUARTER, first.recall(QUARTER))
    second.remember(QUARTER, first.recall(QUARTER)[: raced.images])  # which knows less
    assert second(QUARTER) == whole
    assert not counted.seen


def test_a_race_hangs_on_its_two_policies_alone(maker: Compressor) -> None:
    asked_before = scored(maker, top1_accuracy)
    for policy in (DENSE, HALF, QUARTER):
        asked_before(policy)
    for candidate, incumbent in ((QUARTER, DENSE), (HALF, DENSE), (HALF, QUARTER)):
        fresh = scored(maker, top1_accuracy)
        assert asked_before.evaluate_against(candidate, incumbent) == fresh.evaluate_against(
            candidate, incumbent
        )


def test_a_score_of_the_users_is_taken_whole(maker: Compressor) -> None:
    calls: list[int] = []

    def score(model: nn.Module, data: Iterable[tuple[Tensor, Any]]) -> float:
        calls.append(sum(len(inputs) for inputs, _ in data))
        return -1.0 * len(calls)

    evaluate = Evaluator(maker, batches(100, 50), score, RefitSettings(images=4))
    assert evaluate.evaluate_against(HALF, QUARTER) == Evaluation(-1.0, 150)
    assert evaluate.evaluate_against(HALF, None) == Evaluation(-1.0, 150)
    assert calls == [150]


def test_saturated_accuracy_gives_way_to_probabilities(maker: Compressor) -> None:
    dense = maker.traced.model
    right = labelled(dense, FEW)
    chosen = ranking(top1_accuracy, dense, right)
    assert isinstance(chosen.score, Confidence)
    assert chosen.name == "probability of the right class"
    assert "right on 100.0 % of the validation inputs: candidates are ranked by" in chosen.note
    ((inputs, classes),) = right.pairs
    wrong = Batches(((inputs, torch.cat([(classes[:10] + 1) % 4, classes[10:]])),))
    assert ranking(top1_accuracy, dense, wrong) == Ranking(top1_accuracy)
    alike = Batches(((inputs, torch.full((FEW,), 7)),))
    one_class = ranking(top1_accuracy, dense, alike)
    assert one_class.note.startswith("all validation inputs are of one")
    assert isinstance(one_class.score, Logits)


def test_accuracy_of_few_images_gives_way_to_probabilities(maker: Compressor) -> None:
    dense = maker.traced.model
    ((inputs, classes),) = labelled(dense, 50).pairs
    wrong = torch.cat([(classes[:10] + 1) % 4, classes[10:]])
    chosen = ranking(top1_accuracy, dense, Batches(((inputs, wrong),)))
    assert isinstance(chosen.score, Confidence)
    assert chosen.note.startswith("one of 50 validation inputs is 2.0 points: candidates are")


@pytest.mark.parametrize(
    ("macs", "images"), [(36e6, 256), (126e6, 253), (600e6, 64), (4.1e9, 64), (0.0, 256)]
)
def test_candidates_of_costly_networks_are_refitted_on_fewer_images(
    macs: float, images: int
) -> None:
    assert refit_in_the_loop(macs).images == images
    assert refit_in_the_loop(macs).rows == 8_000


def test_a_dense_network_at_chance_is_said(maker: Compressor) -> None:
    dense = maker.traced.model
    ((inputs, classes),) = labelled(dense, 200).pairs
    drawn = torch.randint(4, (200,), generator=torch.Generator().manual_seed(0))
    strange = ranking(top1_accuracy, dense, Batches(((inputs, drawn),)))
    assert strange.score is top1_accuracy
    assert strange.note.startswith("the dense network is at chance: it is right on ")
    half = torch.where(torch.arange(200) < 100, classes, drawn)
    assert "at chance" not in ranking(top1_accuracy, dense, Batches(((inputs, half),))).note
    few = Batches(((inputs[:20], drawn[:20]),))
    assert "at chance" not in ranking(top1_accuracy, dense, few).note


def test_what_the_dense_network_is_ranked_at_is_known_of_scores_of_images(
    maker: Compressor,
) -> None:
    dense, data = maker.traced.model, labelled(maker.traced.model, 50)
    by_class = ranking(top1_accuracy, dense, data)
    assert by_class.dense == judge(dense, by_class.score, data)
    assert ranking(Logits(dense), dense, data).dense == 0.0
    assert ranking(lambda model, batches: 1.0, dense, data).dense is None


def test_a_score_that_was_asked_for_is_kept(maker: Compressor) -> None:
    dense = maker.traced.model
    score = Logits(dense)
    assert ranking(score, dense, labelled(dense, 20)) == Ranking(score)
