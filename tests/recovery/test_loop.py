"""The loop: the student comes nearer, what was killed ends the same, what is worse is not kept."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from recoverable import batches, pair
from torch import Tensor, nn

from automl.errors import DataError, StudyError
from automl.network import re_estimate_norms
from automl.recovery.loop import Recovered, RecoveryData, recover
from automl.recovery.objective import Objective
from automl.recovery.recipe import RecoveryRecipe

RECIPE = RecoveryRecipe(epochs=4, learning_rate=0.02)


def trained(
    student: nn.Module,
    recipe: RecoveryRecipe = RECIPE,
    data: RecoveryData | None = None,
    checkpoint: Path | None = None,
    on_step: Callable[[int, int | None], None] = lambda step, total: None,
) -> Recovered:
    objective = Objective(student, (pair()[0],), recipe.made_terms())
    data = data or RecoveryData(batches())
    return recover(objective, data, recipe, checkpoint=checkpoint, on_step=on_step)


def near(one: nn.Module, other: nn.Module) -> bool:
    """Whether weights differ by no more than a GPU and a processor do."""
    values = other.state_dict()
    return all(
        torch.allclose(each, values[name], 1e-3, 1e-4) for name, each in one.state_dict().items()
    )


def same(one: nn.Module, other: nn.Module) -> bool:
    values = other.state_dict()
    return all(torch.equal(value, values[name]) for name, value in one.state_dict().items())


@pytest.mark.parametrize("terms", [("kd",), ("hints",), ("labels",), ("kd", "hints", "labels")])
@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_the_loss_falls_and_the_teacher_stays(terms: tuple[str, ...], optimiser: str) -> None:
    teacher, student = pair()
    before = copy.deepcopy(teacher)
    rate = 0.02 if optimiser == "sgd" else 0.005
    recipe = RecoveryRecipe(terms, 6, learning_rate=rate, optimiser=optimiser)  # type: ignore[arg-type]
    found = recover(
        Objective(student, (teacher,), recipe.made_terms()), RecoveryData(batches()), recipe
    )
    assert (found.steps, len(found.losses), found.stopped) == (24, 6, "")
    assert found.losses[-1] < 0.95 * found.losses[0]
    assert same(before, teacher)
    assert not student.training


def test_steps_are_told_and_may_be_limited() -> None:
    told: list[tuple[int, int | None]] = []
    recipe = replace(RECIPE, epochs=100, steps=6)
    found = trained(pair()[1], recipe, on_step=lambda done, total: told.append((done, total)))
    assert told == [(number, 6) for number in range(1, 7)]
    assert found.steps == 6


class Endless:
    """Batches of a source that does not say how many they are."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        yield from batches()


def test_a_source_without_a_length_is_trained_on() -> None:
    told: list[int | None] = []
    data = RecoveryData(Endless())
    trained(pair()[1], replace(RECIPE, epochs=2), data, on_step=lambda _, total: told.append(total))
    assert told == [None] * 4 + [8] * 4


def test_no_data_is_an_error_and_no_epochs_change_nothing() -> None:
    student = pair()[1]
    with pytest.raises(DataError, match="no training data"):
        trained(student, data=RecoveryData([]))
    before = copy.deepcopy(student)
    assert trained(student, replace(RECIPE, epochs=0)).steps == 0
    assert same(before, student)


def test_norms_follow_the_batches_unless_these_are_small() -> None:
    large, small = pair()[1], pair()[1]
    before = large.blocks[0].bn1.running_mean.clone()  # type: ignore[union-attr, operator]
    trained(large)
    trained(small, data=RecoveryData(batches(images=1)))
    assert not torch.equal(large.blocks[0].bn1.running_mean, before)  # type: ignore[union-attr, arg-type]
    assert torch.equal(small.blocks[0].bn1.running_mean, before)  # type: ignore[union-attr, arg-type]


def test_norms_have_the_statistics_of_the_weights_that_a_hook_leaves() -> None:
    """Running ones lag behind."""
    for hooks in ((), ("soft-mask",)):
        student = pair()[1]
        found = trained(student, replace(RECIPE, epochs=1, hooks=hooks))
        assert found.kept == "last"
        again = copy.deepcopy(student)
        re_estimate_norms(again, [inputs for inputs, _ in batches()])
        alike = near if torch.cuda.is_available() else same  # it was re-estimated there
        assert alike(again, student) == bool(hooks)
    small = pair()[1]
    small.blocks[0].bn1.running_var.fill_(3.0)  # type: ignore[union-attr, operator]
    trained(small, replace(RECIPE, hooks=("soft-mask",)), RecoveryData(batches(images=1)))
    assert (small.blocks[0].bn1.running_var == 3.0).all()  # type: ignore[union-attr]


class Diverging:
    """The third epoch's second batch is no number."""

    def __init__(self) -> None:
        self.epochs = 0

    def __len__(self) -> int:
        return 4

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self.epochs += 1
        for number, (inputs, targets) in enumerate(batches()):
            yield inputs * (torch.nan if (self.epochs, number) == (3, 1) else 1.0), targets


def test_a_loss_that_is_no_number_ends_it_with_the_last_whole_epochs_weights() -> None:
    student, whole = pair()[1], pair()[1]
    found = trained(student, data=RecoveryData(Diverging()))
    assert found.stopped.startswith(
        "the loss was not finite at step 10: the weights are those of step 8"
    )
    assert (found.steps, found.kept) == (8, "last")
    kept: list[dict[str, Tensor]] = []

    def note(step: int, _: int | None) -> None:
        if step == 8:
            kept.append({name: each.clone() for name, each in whole.state_dict().items()})

    trained(whole, on_step=note)
    assert all(torch.equal(each, kept[0][name]) for name, each in student.state_dict().items())


class Killed(Exception):
    pass


@pytest.mark.parametrize(
    "recipe", [RECIPE, replace(RECIPE, ema=0.9, optimiser="adamw"), replace(RECIPE, patience=9)]
)
def test_what_was_killed_goes_on_to_the_very_same_end(
    recipe: RecoveryRecipe, tmp_path: Path
) -> None:
    whole, killed, path = pair()[1], pair()[1], tmp_path / "left.recovery"
    first = batches()[0][0]
    generator = torch.Generator()
    flat = [
        (one[None], label)
        for part, labels in batches()
        for one, label in zip(part, labels, strict=True)
    ]
    loader = torch.utils.data.DataLoader(
        [(inputs[0], label) for inputs, label in flat], 16, shuffle=True, generator=generator
    )

    def score(network: nn.Module) -> float:
        return -float(network(first).square().mean())

    data = RecoveryData(loader, score, (loader,), seed=5)
    expected = trained(whole, recipe, data)

    def kill(step: int, _: int | None) -> None:
        if step == 10:
            raise Killed

    with pytest.raises(Killed):
        trained(killed, recipe, data, path, kill)
    assert path.is_file()
    started = pair()[1]
    found = trained(started, recipe, data, path)
    assert same(started, whole)
    assert replace(found, seconds=0.0) == replace(expected, seconds=0.0)
    assert not path.exists()


def test_the_checkpoint_of_another_recovery_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "left.recovery"

    def kill(step: int, _: int | None) -> None:
        if step == 5:
            raise Killed

    with pytest.raises(Killed):
        trained(pair()[1], checkpoint=path, on_step=kill)
    with pytest.raises(StudyError, match="checkpoint of another recovery"):
        trained(pair()[1], replace(RECIPE, learning_rate=0.01), checkpoint=path)
    other = RecoveryData(batches(), digest="of other data")
    with pytest.raises(StudyError, match="checkpoint of another recovery"):
        trained(pair()[1], RECIPE, other, path)
    assert path.is_file()


def test_weights_that_are_worse_than_the_first_are_not_kept() -> None:
    student, scores = pair()[1], iter([2.0, 1.0])
    before = copy.deepcopy(student)
    found = trained(student, data=RecoveryData(batches(), lambda _: next(scores)))
    assert (found.kept, found.before, found.after, found.reached) == ("first", 2.0, 2.0, 1.0)
    assert same(before, student)
    scores = iter([2.0, 1.0])  # what begins anew is not held against what it left
    found = trained(
        student, replace(RECIPE, start="scratch"), RecoveryData(batches(), lambda _: next(scores))
    )
    assert (found.kept, found.after) == ("last", 1.0)


def test_early_stopping_keeps_the_best_epoch() -> None:
    scores = iter([0.0, 1.0, 3.0, 2.0, 2.5, 9.0])
    seen: list[dict[str, Tensor]] = []

    def score(network: nn.Module) -> float:
        seen.append({name: each.clone() for name, each in network.state_dict().items()})
        return next(scores)

    student = pair()[1]
    found = trained(student, replace(RECIPE, epochs=20, patience=2), RecoveryData(batches(), score))
    assert (len(found.losses), found.after, found.kept) == (4, 3.0, "best")
    assert "no better held-back score in 2 epochs" in found.stopped
    assert all(torch.equal(each, seen[2][name]) for name, each in student.state_dict().items())


def test_the_same_seed_gives_the_same_weights_and_chance_is_left_alone() -> None:
    one, other = pair()[1], pair()[1]
    torch.manual_seed(3)
    state = torch.get_rng_state()
    trained(one)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(4)
    trained(other)
    assert same(one, other)


def test_the_average_of_weights_is_what_is_delivered() -> None:
    plain, average = pair()[1], pair()[1]
    trained(plain, replace(RECIPE, learning_rate=0.05))
    trained(average, replace(RECIPE, learning_rate=0.05, ema=0.99))
    assert not same(plain, average)


def test_whoever_scores_finds_teachers_where_the_student_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a GPU a score that held the student against its teacher found them on two devices."""
    told = list[str]()

    def score(network: nn.Module) -> float:
        assert not network.training
        told.append("score")
        return 0.0

    rest = Objective.rest
    monkeypatch.setattr(Objective, "rest", lambda self: (told.append("rest"), rest(self)))
    trained(pair()[1], replace(RECIPE, epochs=2), RecoveryData(batches(), score))
    assert told.count("score") == 2
    assert all(told[place - 1] == "rest" for place, each in enumerate(told) if each == "score")
