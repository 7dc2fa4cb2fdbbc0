"""What stands in the place of parts that are left out."""

from __future__ import annotations

import torch
from torch import nn

from automl.network.outputs import Here
from automl.network.removal import Nothing, Passage, Selection, remove


def test_a_passage_hands_on_one_of_its_tensors() -> None:
    passage = Passage(1, (Here(), 0.5))
    x = torch.randn(3)
    found = passage(torch.zeros(2), x, rate=0.1)
    assert found[0] is x
    assert found[1] == 0.5


def test_nothing_is_added() -> None:
    nothing = Nothing({"x": Here()})
    x = torch.randn(2, 3).double()
    assert torch.equal(x + nothing(x)["x"], x)
    assert (x + nothing(x)["x"]).dtype == x.dtype
    assert not nothing.state_dict()


def test_a_selection_gives_zero_for_what_does_not_come_in() -> None:
    select = Selection(1, torch.tensor([1, 0, 0]), torch.tensor([True, False, True]))
    x = torch.tensor([[[5.0], [7.0]]])
    assert select(x).flatten().tolist() == [7.0, 0.0, 5.0]


def test_sides_that_lost_the_same_are_handed_on_as_they_are() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    kept = {("0", "in"): torch.tensor([0, 2]), ("0", "out"): torch.tensor([0, 2])}
    remove(model, frozenset({"0"}), kept)
    remove(model, frozenset({"1"}))
    assert [type(each) for each in model] == [nn.Identity, nn.Identity]


def test_masked_channels_are_handed_on_as_zeros() -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    remove(model, frozenset({"0"}), {("0", "in"): torch.tensor([0, 3])}, cut=False)
    assert model(torch.ones(1, 4)).tolist() == [[1.0, 0.0, 0.0, 1.0]]
