"""What is measured before a search: little, and enough to predict the rest."""

from __future__ import annotations

import itertools

import pytest
from torch import nn

from automl.cost import operators_of, required_keys
from automl.latency.gaussian import most_telling
from automl.latency.keys import OpKey
from automl.network.traced_model import TracedModel, trace_network
from automl.pipeline.first_operators import (
    FEWEST_MORE,
    FIRST_SHARE,
    FIRST_UNCERTAINTY,
    FIT_UNCERTAINTY,
    first_operators,
)
from automl.pipeline.networks import fitting_vectors, integers, whole_first
from automl.policy.precisions import Precisions
from automl.space import Space, build_space

OFFERED = Precisions(("fp32", "int8"))


@pytest.fixture(scope="module")
def traced() -> TracedModel:
    """Ten convolutions of which each has some widths."""
    widths = (3, 32, 32, 48, 48, 64, 64, 96, 96, 128, 128)
    layers = [
        part
        for narrow, wide in itertools.pairwise(widths)
        for part in (nn.Conv2d(narrow, wide, 3, padding=1), nn.ReLU())
    ]
    return trace_network(
        nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10)),
        (1, 3, 16, 16),
    )


@pytest.fixture(scope="module")
def space(traced: TracedModel) -> Space:
    return build_space(traced.network, round_to=4, depth=False, precisions=OFFERED.bits)


def operators(traced: TracedModel, space: Space, vectors: object) -> set[OpKey]:
    policies = [space.decode(vector) for vector in vectors]  # type: ignore[attr-defined]
    return {key for each in policies for key in operators_of(traced.network, each, OFFERED)}


def test_the_dense_network_all_integers_and_a_drawn_one_are_measured_whole(
    traced: TracedModel, space: Space
) -> None:
    vectors = fitting_vectors(space, 0)
    whole = whole_first(space, vectors)
    assert len(whole) == 3
    assert (whole == space.dense).all(axis=1).any()
    assert (whole == integers(space)).all(axis=1).any()
    found = first_operators(traced, space, 0, OFFERED)
    assert operators(traced, space, whole) <= set(found)
    assert len(found) == len(set(found))


def test_without_bits_it_is_the_dense_network_and_a_drawn_one(traced: TracedModel) -> None:
    plain = build_space(traced.network, round_to=4, depth=False)
    whole = whole_first(plain, fitting_vectors(plain, 0))
    assert len(whole) == 2
    assert (whole[0] == plain.dense).all()


def test_of_the_other_networks_only_what_the_rest_does_not_tell(
    traced: TracedModel, space: Space
) -> None:
    found = first_operators(traced, space, 0, OFFERED)
    fitted = operators(traced, space, fitting_vectors(space, 0))
    assert most_telling(sorted(fitted, key=str), found, 1, FIT_UNCERTAINTY) == []
    left = fitted - set(found)
    assert len(left) > 0.2 * len(fitted)
    wanted = required_keys(traced.network, space, precisions=OFFERED)
    enough = most_telling(wanted, found, 1, FIRST_UNCERTAINTY) == []
    assert enough or len(found) >= int(FIRST_SHARE * len(wanted))
    assert len(found) <= max(FIRST_SHARE * len(wanted), len(fitted) + FEWEST_MORE)


def test_the_same_seed_measures_the_same(traced: TracedModel, space: Space) -> None:
    first = first_operators(traced, space, 3, OFFERED)
    assert first == first_operators(traced, space, 3, OFFERED)
    assert first != first_operators(traced, space, 4, OFFERED)
