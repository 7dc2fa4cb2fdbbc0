"""Recovery: the student comes nearer to its teacher."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from automl.errors import DataError
from automl.recovery.loop import RecoverySettings, distance, recover

Batch = tuple[Tensor, None]


class Net(nn.Module):
    """One convolution and a head; `outputs` returns the map as well."""

    def __init__(self, outputs: int = 1) -> None:
        super().__init__()
        self.conv, self.head, self.outputs = nn.Conv2d(3, 8, 3), nn.Linear(8, 5), outputs
        self.sizes: list[int] = []

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        self.sizes.append(x.shape[-1])
        y = torch.relu(self.conv(x))
        logits = self.head(y.mean((2, 3)))
        return logits if self.outputs == 1 else (logits, y)


def pair(outputs: int = 1) -> tuple[Net, Net]:
    """A teacher and a student that is a spoilt copy of it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        teacher = Net(outputs).eval().requires_grad_(False)
        for value in teacher.parameters():
            value.mul_(3)
        student = copy.deepcopy(teacher)
        for value in student.parameters():
            value.add_(0.3 * torch.randn_like(value))
        return teacher, student


def batches(size: int = 8) -> list[Batch]:
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(16, 3, size, size, generator=generator), None) for _ in range(4)]


@pytest.mark.parametrize("outputs", [1, 2])
def test_the_student_comes_nearer(outputs: int) -> None:
    teacher, student = pair(outputs)
    before = copy.deepcopy(teacher.state_dict())
    losses: list[float] = []
    settings = RecoverySettings(epochs=6, learning_rate=0.02)
    recover(
        student, teacher, batches(), settings=settings, on_epoch=lambda _, loss: losses.append(loss)
    )
    assert len(losses) == 6
    assert losses[-1] < 0.7 * losses[0]
    assert not any(value.requires_grad for value in student.parameters())
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


def test_the_teacher_sees_the_dense_resolution_and_the_student_its_own() -> None:
    teacher, student = pair()
    recover(student, teacher, batches(), resolution=6, settings=RecoverySettings(epochs=1))
    assert set(student.sizes) == {6}
    assert set(teacher.sizes) == {8}


def test_a_loss_that_is_not_finite_is_an_error_and_the_weights_are_frozen_again() -> None:
    teacher, student = pair()
    wrong = [(torch.full((2, 3, 8, 8), torch.nan), None)]
    with pytest.raises(DataError, match="lower the learning rate"):
        recover(student, teacher, wrong)
    assert not any(value.requires_grad for value in student.parameters())


def test_no_data_is_an_error() -> None:
    teacher, student = pair()
    with pytest.raises(DataError, match="no training data"):
        recover(student, teacher, [])


def test_no_epochs_change_nothing() -> None:
    teacher, student = pair()
    before = copy.deepcopy(student.state_dict())
    recover(student, teacher, batches(), settings=RecoverySettings(epochs=0))
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


CHOSEN = RecoverySettings()


def test_rows_that_are_no_classes_are_compared_as_numbers() -> None:
    numbers = RecoverySettings(classes=False)
    aim = torch.tensor([[1.0, 2.0], [0.0, 2.0]])
    shifted = float(distance(aim + 1.5, aim, numbers))  # a softmax would not see it
    assert shifted == pytest.approx(1.5**2 / 2.25)
    assert float(distance(100 * aim + 150, 100 * aim, numbers)) == pytest.approx(shifted)
    assert float(distance(torch.zeros(1, 2), torch.zeros(1, 2), numbers)) == 0.0


def test_distance_is_a_divergence_of_scores_and_mean_squares_elsewhere() -> None:
    scores = torch.tensor([[1.0, 2.0, 0.0]])
    assert float(distance(scores, scores, CHOSEN)) == pytest.approx(0.0, abs=1e-7)
    shifted = distance(scores + 5.0, scores, CHOSEN)  # softmax does not see a shift
    assert float(shifted) == pytest.approx(0.0, abs=1e-5)
    p, q = (torch.softmax(each / 4, 1) for each in (scores, scores.flip(1)))
    expected = 16 * float((p * (p / q).log()).sum())
    assert float(distance(scores.flip(1), scores, CHOSEN)) == pytest.approx(expected, rel=1e-5)
    maps = torch.zeros(1, 2, 2)
    assert float(distance(maps + 3.0, maps, CHOSEN)) == pytest.approx(9.0)
