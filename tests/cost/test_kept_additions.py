"""Additions are priced where they run: beside merged layers of few bits, and unmerged ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from automl.cost import build_cost_model, layer_operators
from automl.policy import Bits, Policy, Precisions
from handmade import Formula
from merged_networks import BODY, chain, residual, space_of

FEW = Bits(4, 8)
TARGET = Precisions(("fp32", "w4a8", "int8"))


@pytest.mark.parametrize("read", [chain, residual])
def test_prices_are_those_of_what_runs(read: Any) -> None:
    space = space_of(read(), round_to=4, precisions=TARGET.bits)
    costs = build_cost_model(read().network, space, Formula(), precisions=TARGET)
    vectors = space.random(200, np.random.default_rng(1))
    kept = 0
    for vector, price in zip(vectors, costs.price(vectors)[:, 0], strict=True):
        policy = space.decode(vector)
        runs = layer_operators(read().network, policy, TARGET)
        assert price == pytest.approx(sum(Formula.price(key) for _, key in runs))
        lasts = {each.last for each in read().network.merges if each.addition}
        kept += any(policy.bits[last] == FEW for last in lasts)
    assert kept


def test_it_runs_beside_few_bits_alone() -> None:
    found = {}
    for bits in (FEW, Bits(8, 8), Bits()):
        policy = Policy(bits={"body.project": bits}, further=BODY)
        runs = [name for name, _ in layer_operators(chain().network, policy, TARGET)]
        found[bits.weights] = "add_1" in runs
    assert found == {4: True, 8: False, 32: False}
