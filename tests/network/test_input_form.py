"""Inputs of any nest as rows of floats."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import nn

from automl.network.input_form import example_of, form_of, input_hook, styles_of, taking_rows
from automl.network.trace import record
from automl.network.traced_model import trace_network

Tensor = torch.Tensor


class Two(nn.Module):
    """A picture, and words beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.maps, self.words = nn.Conv2d(3, 8, 3, padding=1), nn.Embedding(10, 8)
        self.mixed, self.head = nn.Linear(8, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor, ids: Tensor, scale: float = 1.0) -> Any:
        found = self.maps(x).relu().mean((2, 3)) + scale * self.words(ids).mean(1)
        return {"logits": self.head(self.mixed(found).relu())}


def nest(count: int = 2) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    return {
        "ids": torch.randint(10, (count, 5), generator=generator),
        "x": torch.randn(count, 3, 6, 6, generator=generator),
        "scale": 0.5,
    }


def taking(copies: bool = False) -> tuple[nn.Module, Tensor]:
    form, model = form_of(nest()), Two().eval()
    rows = form.pack(nest())
    style = styles_of(model, form)[0]
    return taking_rows(model, form, style, rows[:1], copies=copies), rows


def test_a_nest_is_packed_and_unpacked() -> None:
    form = form_of(nest())
    assert [each.name for each in form.tensors] == ["ids", "x"]
    rows = form.pack(nest())
    assert rows.shape == (2, 5 + 3 * 6 * 6)
    found = form.unpack(rows)
    assert list(found) == ["ids", "x", "scale"]
    assert found["ids"].dtype == torch.int64
    assert torch.equal(found["ids"], nest()["ids"])
    assert torch.equal(found["x"], nest()["x"])
    reordered = {key: nest()[key] for key in ("x", "scale", "ids")}
    assert torch.equal(form.pack(reordered), rows)


@pytest.mark.parametrize("value", [torch.float64, torch.float16, torch.bool, torch.uint8])
def test_one_tensor_keeps_its_shape(value: torch.dtype) -> None:
    given = torch.ones(2, 3, 4, 4).to(value)
    form = form_of([given])
    assert form.pack([given]).shape == (2, 3, 4, 4)
    found = form.unpack(form.pack([given]))[0]
    assert found.dtype == (torch.float32 if value.is_floating_point else value)
    assert form_of(given).plain is value.is_floating_point


def test_how_a_model_is_called_is_told_by_its_signature() -> None:
    x = torch.zeros(1, 2)

    class Star(nn.Module):
        def forward(self, *tensors: Tensor, **named: Tensor) -> Tensor:
            return tensors[0]

    plain = nn.Linear(2, 2)
    assert styles_of(plain, form_of(x)) == ("one",)
    assert styles_of(plain, form_of({"input": x})) == ("keyword", "one")
    assert styles_of(plain, form_of({"x": x})) == ("one", "alone")
    assert styles_of(plain, form_of({"x": x, "y": x})) == ("one",)
    assert styles_of(plain, form_of((x, x))) == ("one",)
    assert styles_of(Star(), form_of((x, x))) == ("positional", "one")
    assert styles_of(Star(), form_of({"x": x, "y": x})) == ("keyword", "one")


def test_a_model_that_takes_rows_is_copied_and_pickled_with_that() -> None:
    model, rows = taking()
    expected = model(**nest())["logits"]
    for each in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.allclose(each(rows)["logits"], expected, atol=1e-6)
        assert torch.allclose(each(**nest())["logits"], expected, atol=1e-6)
        hook = input_hook(each)
        assert hook is not None
        assert hook.style == "keyword"
    assert torch.equal(example_of(model, (1, 113)), rows[:1])
    assert example_of(Two(), (1, 3), seed=3).shape == (1, 3)


def test_the_operations_that_take_a_row_apart_are_not_the_networks() -> None:
    model, rows = taking()
    trace = record(model, rows[:1])
    assert [call.step.module for call in trace.calls if call.step.module] == [
        "maps",
        "mixed",
        "head",
    ]
    assert not {call.step.op for call in trace.calls} & {"split", "split_with_sizes", "_to_copy"}
    (first,) = [call for call in trace.calls if call.step.module == "maps"]
    assert first.in_shapes == ((1, 3, 6, 6),)


def test_a_network_of_several_inputs_is_traced_and_cut() -> None:
    model, rows = taking()
    traced = trace_network(model, tuple(rows[:1].shape))
    assert {group.channels for group in traced.network.groups} >= {16}
    with torch.no_grad():
        found = traced.model(rows)["logits"]
    assert torch.allclose(found, model(rows)["logits"], atol=1e-5)


def test_copies_are_given_to_a_model_that_writes() -> None:
    class Writes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.add_(1.0)

    x = torch.zeros(2, 3)
    model = taking_rows(Writes(), form_of(x), "one", x[:1], copies=True)
    assert torch.equal(model(x), torch.ones(2, 3))
    assert torch.equal(x, torch.zeros(2, 3))
