"""Plain values of choices: every kind's options have one each, and no two the same."""

from __future__ import annotations

import json

from automl.policy.policy import Bits
from automl.space import Variable
from automl.space.parameters import parameter_name, parameter_values


def test_a_variable_is_called_by_its_kind_and_its_part() -> None:
    assert parameter_name(Variable("resolution", "", (16, 32))) == "resolution"
    assert parameter_name(Variable("channels", "layer1.conv1", (4, 8))) == "channels:layer1.conv1"


def test_numbers_stay_numbers_and_all_else_is_the_kinds_own_text() -> None:
    assert parameter_values(Variable("channels", "a", (4, 8))) == [4, 8]
    bits = parameter_values(Variable("bits", "a", (Bits(8, 8), Bits(32, 32))))
    assert all(isinstance(each, str) for each in bits)
    assert len(set(bits)) == 2
    assert json.loads(json.dumps(bits)) == bits
