"""Rewind: the first weights where any were left; what is zero stays zero."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from recoverable import pair

from automl.errors import ModelError, UsageError
from automl.recovery.base import Beginning
from automl.recovery.starts.rewind import Rewind
from automl.testing import StartContract

FIRST = {}


class TestRewind(StartContract):
    name = "rewind"

    @pytest.fixture(autouse=True)
    def file(self, tmp_path: Path) -> None:
        FIRST["path"] = tmp_path / "first.pt"

    def begun(self, seed: int) -> dict[str, torch.Tensor]:
        student = pair()[1]
        torch.save(pair()[0].state_dict(), FIRST["path"])
        Rewind(weights=str(FIRST["path"])).begin(Beginning(student, seed, lambda first: first))
        return dict(student.state_dict())

    def test_shapes_and_names_stay(self) -> None:
        before, after = pair()[1].state_dict(), self.begun(0)
        assert {n: v.shape for n, v in before.items()} == {n: v.shape for n, v in after.items()}


def test_survivors_go_back_and_zeros_stay(tmp_path: Path) -> None:
    teacher, student = pair()
    with torch.no_grad():
        student.stem.weight[2] = 0
    torch.save(teacher.state_dict(), tmp_path / "first.pt")
    start = Rewind(weights=str(tmp_path / "first.pt"))
    start.check(teacher.state_dict())
    start.begin(Beginning(student, cut=lambda first: first))
    expected = copy.deepcopy(teacher.stem.weight.detach())
    expected[2] = 0
    assert torch.equal(student.stem.weight.detach(), expected)
    assert torch.equal(student.head.weight, teacher.head.weight)


def test_what_is_not_there_is_said_before_anything_starts(tmp_path: Path) -> None:
    teacher, _ = pair()
    with pytest.raises(UsageError, match="has to be told the network's first weights"):
        Rewind()
    with pytest.raises(ModelError, match=r"none\.pt cannot be read"):
        Rewind(weights=str(tmp_path / "none.pt")).check(teacher.state_dict())
    values = teacher.state_dict()
    torch.save(
        {name: value for name, value in values.items() if name != "head.bias"}, tmp_path / "a.pt"
    )
    with pytest.raises(UsageError, match=r"a\.pt has no 'head\.bias'"):
        Rewind(weights=str(tmp_path / "a.pt")).check(values)
    torch.save({**values, "head.bias": torch.zeros(3)}, tmp_path / "b.pt")
    with pytest.raises(
        UsageError, match=r"head\.bias is of shape \(3,\), and the network's of \(5,\)"
    ):
        Rewind(weights=str(tmp_path / "b.pt")).check(values)
    with pytest.raises(UsageError, match="nobody knows which weights"):
        Rewind(weights=str(tmp_path / "b.pt")).begin(Beginning(teacher))
