"""A network of nests is called as it was."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, fx, nn

from automl.errors import ModelError
from automl.export.source_signature import outputs_of, signature_of
from automl.userdata import from_exported

OPEN = {0: torch.export.Dim.DYNAMIC}


class Nested(nn.Module):
    def forward(self, batch: dict[str, list[Tensor]], scale: Tensor) -> tuple[object, ...]:
        first, second = batch["pair"]
        return ({"sum": first + second}, [first * scale])


def test_nests_are_taken_apart_and_put_together() -> None:
    given = ({"pair": [torch.rand(2, 3), torch.rand(2, 3)]}, torch.rand(2, 1))
    sizes = ({"pair": [OPEN, OPEN]}, OPEN)
    graph = from_exported(torch.export.export(Nested(), given, dynamic_shapes=sizes)).graph
    signature = signature_of(graph)
    assert signature is not None
    assert signature.parameters == ("batch", "scale")
    assert signature.unpacking == (
        'batch_0 = batch["pair"][0]',
        'batch_1 = batch["pair"][1]',
    )
    assert signature.leaves == ("batch_0", "batch_1", "scale")
    (output,) = (node for node in graph.nodes if node.op == "output")
    assert outputs_of(graph, output, str, root=True) == '({"sum": add}, [mul])'


def test_a_plain_graph_has_none() -> None:
    assert signature_of(fx.symbolic_trace(nn.ReLU()).graph) is None


def test_other_containers_are_refused() -> None:
    class Named(nn.Module):
        def forward(self, x: Tensor) -> object:
            return torch.return_types.max((x, x))

    graph = from_exported(torch.export.export(Named(), (torch.rand(2, 3),))).graph
    (output,) = (node for node in graph.nodes if node.op == "output")
    with pytest.raises(ModelError, match=r"it gives a max"):
        outputs_of(graph, output, str, root=True)
