"""Which of its pieces a maxout unit loses first."""

from __future__ import annotations

import pytest
import torch
from maxouts import Maxout, SideBySide, data

from automl.compression import CompressionConfig, Compressor, ranked_otherwise
from automl.compression.importance.pieces import remove_pieces
from automl.network import TracedModel, trace_network
from automl.policy import Policy

INPUTS = data(512, 3)[0]


def made(traced: TracedModel, importance: str) -> Compressor:
    counts = {group.name: (group.channels // 2,) for group in traced.network.groups}
    return Compressor(traced, INPUTS, counts, config=CompressionConfig(importance=importance))


def test_pieces_go_from_the_last_one_on() -> None:
    group = trace_network(Maxout(), (1, 8)).network.groups[1]
    assert remove_pieces(group).kept(3).tolist() == [0, 1, 2]


def test_each_unit_keeps_the_pieces_that_win_most_in_it() -> None:
    model = Maxout()
    traced = trace_network(model, (1, 8))
    found = made(traced, "wins")
    values = model.laid_out(model.one(INPUTS))
    wins = torch.nn.functional.one_hot(values.argmax(2), 4).sum(0)
    best = wins.sort(1, descending=True).values
    after = found.traced.model
    again = model.laid_out(after.one(INPUTS))  # type: ignore[union-attr, operator]
    assert torch.equal(torch.nn.functional.one_hot(again.argmax(2), 4).sum(0), best)
    torch.testing.assert_close(after(INPUTS), model(INPUTS))


def test_other_importances_rank_pieces_by_filters_or_leave_them_to_wins() -> None:
    traced = trace_network(Maxout(), (1, 8))
    with torch.no_grad():
        by_length = made(traced, "l1").traced.model.one.weight.view(6, 4, 8)  # type: ignore[union-attr, operator]
    sums = by_length.abs().sum(2)
    assert torch.equal(sums, sums.sort(1, descending=True).values)
    for importance in ("taylor", "apoz", "obs"):
        said = ranked_otherwise(importance, traced)[-1]
        assert said.startswith("one#2 and 1 more: pieces of maxout units, they go by how often")
    assert ranked_otherwise("l1", traced) == ()
    (said,) = ranked_otherwise("wins", traced)
    assert said.startswith("one and 1 more: no pieces of maxout units, they go by second-order")
    found = made(traced, "fisher")  # asks nothing of pieces that it cannot answer
    assert torch.isfinite(found.make(Policy({"one": 3, "one#2": 2}))(INPUTS)).all()


@pytest.mark.parametrize("importance", ["wins", "l1"])
def test_units_of_several_layers_and_those_that_are_the_outputs_lose_pieces(
    importance: str,
) -> None:
    model = SideBySide()
    traced = trace_network(model, (1, 8))
    groups = {group.name: (group.channels, group.units) for group in traced.network.groups}
    assert groups["two"] == (4, 4)  # pieces; classes stay
    found = made(traced, importance)
    torch.testing.assert_close(found.traced.model(INPUTS), model(INPUTS))
    policy = Policy(dict.fromkeys((name for name, (_, units) in groups.items() if units), 2))
    small = found.make(policy)
    assert small(INPUTS).shape == (512, 4)
    assert small.two.out_features == 8
