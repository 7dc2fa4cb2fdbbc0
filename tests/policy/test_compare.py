"""Two policies are told apart choice by choice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from automl.errors import PolicyError
from automl.policy.compare import PolicyDifference, differences
from automl.policy.policy import Bits
from policy_files import POLICY, policy_file


def test_the_same_policy_differs_in_nothing() -> None:
    assert differences(policy_file(), policy_file()) == ()


def test_each_choice_that_differs_is_told() -> None:
    other = replace(
        POLICY,
        channels={**POLICY.channels, "stem": 4},
        removed=frozenset(),
        resolution=0,
        bits={"mix": Bits(4, 8)},
        further={"form": {"mix": "rank:4", "stem": "dense"}},
    )
    found = {each.kind: each for each in differences(policy_file(), policy_file(other))}
    assert found["channels"].part == "stem"
    assert found["channels"].other.startswith("4 of ")
    assert found["block"] == PolicyDifference("block", "block", "left out", "dense")
    assert found["resolution"] == PolicyDifference("", "resolution", "16", "dense")
    assert found["bits"] == PolicyDifference("mix", "bits", "8, 8", "4, 8")
    assert found["form"] == PolicyDifference("mix", "form", "dense", "rank:4")
    assert len(found) == 5


def test_policies_of_different_models_are_refused() -> None:
    one = policy_file()
    other = one.model_copy(
        update={"model": one.model.model_copy(update={"fingerprint": "another"})}
    )
    with pytest.raises(PolicyError, match=r"different models.*another"):
        differences(one, other)
