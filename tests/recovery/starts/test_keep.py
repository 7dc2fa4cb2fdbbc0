"""Keep changes nothing."""

from __future__ import annotations

import copy

import torch
from recoverable import pair

from automl.recovery.base import Beginning
from automl.recovery.starts.keep import Keep
from automl.testing import StartContract


class TestKeep(StartContract):
    name = "keep"


def test_the_weights_stay() -> None:
    _, student = pair()
    before = copy.deepcopy(student.state_dict())
    Keep().begin(Beginning(student))
    assert all(torch.equal(each, before[name]) for name, each in student.state_dict().items())
