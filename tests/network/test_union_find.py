"""Labels that are one stand for each other, whenever that is asked."""

from __future__ import annotations

import torch

from automl.network.union_find import NONE, UnionFind, core


def test_all_that_is_asked_for_is_found_at_once_and_again_after_more_was_joined() -> None:
    union = UnionFind()
    first, second, third = (union.fresh(3) for _ in range(3))
    union.join(second, third, "")
    union.join(first, second, "")
    alone = [union.root(label) for label in third.tolist()]
    union.settle()
    assert union.roots(third).tolist() == alone == first.tolist()
    more = union.fresh(3)
    assert union.roots(more).tolist() == more.tolist()
    union.settle()
    union.join(more, third, "")
    assert union.roots(more).tolist() == first.tolist()
    assert len(union) == 13  # and the one of what is no channel


def test_what_meets_fixed_values_stays() -> None:
    union = UnionFind()
    line = union.fresh(2)
    union.join(line, torch.tensor([NONE, int(line[1])]), "why")
    assert [union.unprunable(root) for root in union.roots(line).tolist()] == ["why", None]


def test_dimensions_along_which_nothing_changes_are_stored_once() -> None:
    assert core(torch.arange(3).view(1, 3, 1).expand(2, 3, 5)).shape == (1, 3, 1)
