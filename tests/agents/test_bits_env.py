"""The environment of bits: its steps, its states, and bits lowered until the cost fits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from bits_problem import BITFUSION, CPU, WEIGHT_ONLY, bits_problem

from automl.agents.bits_env import BitsEnv, LayerBits
from automl.cost import Budget, Limit
from automl.errors import SpaceError
from automl.policy.policy import Bits
from automl.space import Variable, Vectors
from automl.study.problem import Problem


def test_two_steps_per_layer_and_none_where_there_is_no_choice() -> None:
    bitfusion = BitsEnv(bits_problem(3, options=BITFUSION))
    assert len(bitfusion.replay(bitfusion.problem.space.dense).actions) == 6
    size = BitsEnv(bits_problem(3, options=WEIGHT_ONLY, quantity="bytes"))
    assert len(size.replay(size.problem.space.dense).actions) == 3
    cpu = BitsEnv(bits_problem(3, options=CPU))
    assert len(cpu.replay(cpu.problem.space.dense).actions) == 3
    mixed = BitsEnv(bits_problem(1, options=(Bits(8, 8), Bits(32, 8), Bits(32, 32))))
    assert len(mixed.replay(np.array([0], np.int16)).actions) == 1  # 8 bits go with 8 alone
    assert len(mixed.replay(np.array([1], np.int16)).actions) == 2


class Unlimited(BitsEnv):
    """An environment whose policies are left as they were drawn."""

    def enforce(self, vector: Vectors) -> Vectors:
        return vector

    def fill(self, vector: Vectors, generator: np.random.Generator) -> Vectors:
        return vector


@pytest.mark.parametrize(
    ("action", "bits"), [(0.0, 1), (0.12, 1), (0.13, 2), (0.5, 5), (0.99, 8), (1.0, 8)]
)
def test_bits_have_equal_shares_of_the_actions_and_are_never_none(action: float, bits: int) -> None:
    env = Unlimited(bits_problem(2, options=(*(Bits(w, 8) for w in range(1, 9)),)))
    generator = np.random.default_rng(0)
    episode = env.rollout(lambda place, state: action, generator, learns=False)
    policy = env.problem.space.decode(episode.vector)
    assert {each.weights for each in policy.bits.values()} == {bits}
    assert episode.actions[:, 0].tolist() == pytest.approx([(bits - 0.5) / 8] * 2)


def test_bits_are_lowered_from_the_last_layer_on_activations_first() -> None:
    problem = bits_problem(4, seed=2, share=1.0, options=BITFUSION, conversion=0.0)
    dense = problem.costs.dense.latency
    env = BitsEnv(problem)
    for share in (0.97, 0.9, 0.85):  # one sweep is enough for each
        tight = replace(problem, budget=Budget((Limit("latency", share * dense),)))
        expected = problem.space.dense.copy()
        for variable, operand in reversed(env.order):
            alone = problem.space.dense.copy()
            alone[variable] = env.layer_bits[variable].stepped(48, operand, -1)
            if price(tight, alone) < dense and not fits(tight, expected):
                expected[variable] = env.layer_bits[variable].stepped(
                    expected[variable], operand, -1
                )
        assert fits(tight, expected)
        assert np.array_equal(BitsEnv(tight).enforce(problem.space.dense), expected)


def price(problem: Problem, vector: Vectors) -> float:
    return float(problem.costs.price(vector[None])[0, 0])


def fits(problem: Problem, vector: Vectors) -> bool:
    return bool(problem.budget.allows_all(problem.costs.price(vector[None]))[0])


def test_a_size_budget_leaves_activations_alone() -> None:
    problem = bits_problem(5, options=BITFUSION, quantity="bytes", share=0.4)
    lowered = problem.space.decode(BitsEnv(problem).enforce(problem.space.dense))
    assert {bits.activations for bits in lowered.bits.values()} == {8}
    assert min(bits.weights for bits in lowered.bits.values()) < 8


def test_where_no_single_option_is_cheaper_the_known_policy_is_taken() -> None:
    # A conversion costs more than eight bits save, so only all layers together are cheaper.
    problem = bits_problem(6, options=CPU, share=0.3, conversion=1.0)
    lowered = BitsEnv(problem).enforce(problem.space.dense)
    assert lowered.tolist() == [0] * 6


def test_the_room_that_is_left_is_filled() -> None:
    problem = bits_problem(6, seed=4, options=BITFUSION, share=0.5)
    env = BitsEnv(problem)
    filled = env.fill(np.zeros(6, np.int16), np.random.default_rng(0))
    assert fits(problem, filled)
    for variable, operand in env.order:
        raised = filled.copy()
        raised[variable] = env.layer_bits[variable].stepped(int(filled[variable]), operand, 1)
        assert np.array_equal(raised, filled) or not fits(problem, raised)


@pytest.mark.parametrize("described", [True, False])
def test_states_are_between_zero_and_one(described: bool) -> None:
    problem = bits_problem(6, seed=1, groups=2)
    if not described:
        problem = replace(problem, geometry=())
    episode = BitsEnv(problem).replay(problem.space.dense)
    assert episode.states.min() >= 0.0
    assert episode.states.max() <= 1.0
    assert len(torch.unique(episode.states, dim=0)) == len(episode.states)


def test_layers_of_blocks_that_the_budget_leaves_out_have_no_steps() -> None:
    problem = bits_problem(3, share=0.08, conversion=0.0, block=True)
    env = BitsEnv(problem)
    assert [problem.space.variables[variable].name for variable in env.layers] == ["l0", "l1"]
    with pytest.raises(SpaceError, match="leaves out the blocks of all"):
        BitsEnv(bits_problem(1, share=0.03, conversion=0.0, block=True))


def test_bits_step_to_the_nearest_that_go_together() -> None:
    layer_bits = LayerBits(
        Variable("bits", "l", (Bits(4, 8), Bits(8, 8), Bits(16, 16), Bits(32, 32)))
    )
    assert layer_bits.stepped(3, "activations", -1) == 3
    assert layer_bits.stepped(3, "weights", -1) == 2
    assert layer_bits.stepped(1, "weights", 1) == 2
    assert layer_bits.stepped(0, "weights", -1) == 0
