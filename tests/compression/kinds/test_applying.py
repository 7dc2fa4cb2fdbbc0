"""Further kinds are applied to the parts that a policy names."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from compressed import outputs_of
from small import Plain, seeded
from torch import nn

from automl.compression.kinds.applying import further_parts, hollow, in_place
from automl.errors import SpaceError
from automl.network import trace_network
from automl.policy.policy import Policy
from automl.space import KINDS
from automl.testing import MADE_UP
from toy_kind import known


@pytest.fixture(autouse=True)
def _known() -> Iterator[None]:
    with known():
        yield


def taper(**texts: str) -> Policy:
    return Policy(further={"taper": texts})


def test_what_stays_dense_or_is_left_out_is_not_touched() -> None:
    model = seeded(Plain)
    parts = further_parts(model, taper(first="rank 1", second="dense"))
    assert [(part.name, part.option) for part in parts] == [("first", 1)]
    gone = Policy(removed=frozenset({"first"}), further={"taper": {"first": "rank 1"}})
    assert further_parts(model, gone) == ()


def test_what_runs_in_a_part_s_place_computes_what_the_fitted_part_does() -> None:
    images = torch.randn((4, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    fitted, whole = seeded(Plain), seeded(Plain)
    parts = further_parts(fitted, taper(first="rank 2"))
    parts[0].finish(fitted.get_submodule("first"), None)
    expected = outputs_of(fitted, images)
    made = in_place(whole, parts)
    assert isinstance(made.get_submodule("first"), nn.Sequential)
    assert not made.get_submodule("first").training
    torch.testing.assert_close(outputs_of(made, images), expected)


def test_what_is_around_a_layer_stays_around_what_runs_in_its_place() -> None:
    class Padding(nn.Conv2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(nn.functional.pad(x, (0, x.shape[-1] % 2 + 1, 2, 0)))

    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 1), Padding(6, 6, 3), nn.Conv2d(6, 2, 1))
    fitted, whole = (trace_network(model, (1, 3, 8, 8)).model for _ in range(2))
    parts = further_parts(fitted, taper(**{"1": "rank 2"}))
    parts[0].finish(fitted.get_submodule("1"), None)
    made = in_place(whole, parts)
    assert not any(name.startswith("1.weight") for name, _ in made.named_parameters())
    for size in (8, 9):
        images = torch.randn(2, 3, size, size)
        for each in (made, copy.deepcopy(made)):
            torch.testing.assert_close(outputs_of(each, images), outputs_of(fitted, images))


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (taper(frist="rank 1"), r"taper of 'frist': no such part \(did you mean first"),
        (taper(first="rnk"), "taper: 'rnk' is no rank"),
        (Policy(further={"tapir": {"first": "rank 1"}}), r"'tapir' \(did you mean taper"),
    ],
)
def test_what_cannot_be_applied_is_refused(policy: Policy, said: str) -> None:
    with pytest.raises(SpaceError, match=said):
        further_parts(seeded(Plain), policy)


def test_a_kind_that_only_prices_is_refused() -> None:
    with (
        KINDS.including(MADE_UP),
        pytest.raises(SpaceError, match="'made-up' can be priced, but neither measured nor applie"),
    ):
        further_parts(seeded(Plain), Policy(further={"made-up": {"first": "less"}}))


def test_what_is_only_recorded_takes_no_memory_and_leaves_the_layer_as_it_is() -> None:
    layer = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Linear(6, 5))
    before = copy.deepcopy(layer.state_dict())
    made = hollow(layer)
    assert all(each.untyped_storage().nbytes() == each.element_size() for each in made.parameters())
    assert [each.shape for each in made.parameters()] == [each.shape for each in layer.parameters()]
    inputs = torch.randn(2, 3, 6, 6)
    assert made(inputs).shape == layer(inputs).shape
    assert all(torch.equal(each, before[name]) for name, each in layer.state_dict().items())
