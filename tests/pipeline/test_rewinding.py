"""First weights in the shapes of what is left: rows and columns of the kept channels, norms too."""

from __future__ import annotations

import pytest
import torch
from tiny import SHAPE, model

from automl.errors import UsageError
from automl.network import smaller, trace_network, with_norms
from automl.pipeline.rewinding import cut_weights
from automl.policy import Policy


def test_the_cut_is_that_of_the_policy() -> None:
    dense = model()
    traced = trace_network(dense, SHAPE, resolutions=())
    kept = {"stem": torch.tensor([1, 4, 7]), "block.inner": torch.tensor([0, 2])}
    names = {group.name for group in traced.network.groups}
    assert kept.keys() <= names
    small = smaller(traced.model, traced.network.groups, kept)
    student = with_norms(small, [torch.randn(8, *SHAPE[1:])]).state_dict()
    first = {name: torch.randn_like(value.float()) for name, value in dense.state_dict().items()}
    made = cut_weights(first, dense, traced, kept, Policy(), student)
    assert {n: v.shape for n, v in made.items()} == {n: v.shape for n, v in student.items()}
    at = kept["stem"]
    assert torch.equal(made["stem.weight"], first["stem.weight"][at])
    assert torch.equal(made["norm.running_var"], first["norm.running_var"][at])
    inner = first["block.inner.weight"][kept["block.inner"]][:, at]
    assert torch.equal(made["block.inner.weight"], inner)
    assert torch.equal(made["head.weight"], first["head.weight"][:, at])
    with pytest.raises(UsageError, match="rewind goes with channels and blocks alone"):
        cut_weights(first, dense, traced, {}, Policy(), student)
