from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from bits_problem import BITFUSION, CPU, WEIGHT_ONLY, bits_problem
from contract import AgentContract, best, made_problem, run, sensitivity_of

from automl.agents.bits_env import BitsEnv, LayerBits
from automl.agents.haq import HaqAgent, HaqSettings
from automl.agents.registry import make_agent
from automl.cost.model import Budget, Limit
from automl.errors import InfeasibleError, SpaceError
from automl.policy.policy import Bits
from automl.solver.exact import solve
from automl.space import Variable, Vectors
from automl.study.problem import Problem, Sensitivity

#: Learns within a few dozen episodes, in a fraction of the time.
QUICK = HaqSettings(hidden=48, warm_up=10, batch=32, actor_rate=1e-3)


class TestHaq(AgentContract):
    name = "haq"
    options: ClassVar[dict[str, object]] = {"settings": QUICK}
    trials = 16

    def made(self, groups: int, seed: int = 0, share: float = 0.5) -> Problem:
        return bits_problem(groups, seed, share)


class TestHaqFromNothing(TestHaq):
    options: ClassVar[dict[str, object]] = {"settings": QUICK, "warm_start": False}
    trials = 12
    beats_random = False  # with as few trials as this nobody learns


def without_sensitivity(problem: Problem) -> Problem:
    return replace(problem, sensitivity=None)


def test_two_steps_a_layer_and_none_where_there_is_no_choice() -> None:
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
    """A walk whose policies are left as they were drawn."""

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


def test_an_energy_budget_is_like_others() -> None:
    problem = bits_problem(5, options=BITFUSION, quantity="joules", share=0.3)
    trials = run(HaqAgent(problem, settings=QUICK), problem, 10)
    assert max(trial.cost.joules for trial in trials) > 0.25 * problem.costs.dense.joules


def test_several_limits_hold_at_once() -> None:
    problem = bits_problem(8, seed=1, options=BITFUSION, share=0.5)
    both = (*problem.budget.limits, Limit("bytes", 0.45 * problem.costs.dense.bytes))
    run(HaqAgent(replace(problem, budget=Budget(both)), settings=QUICK), problem, 10)


def test_the_room_that_is_left_is_filled() -> None:
    problem = bits_problem(6, seed=4, options=BITFUSION, share=0.5)
    env = BitsEnv(problem)
    filled = env.fill(np.zeros(6, np.int16), np.random.default_rng(0))
    assert fits(problem, filled)
    for variable, operand in env.order:
        raised = filled.copy()
        raised[variable] = env.layer_bits[variable].stepped(int(filled[variable]), operand, 1)
        assert np.array_equal(raised, filled) or not fits(problem, raised)


def test_the_replay_holds_what_was_scored() -> None:
    problem = bits_problem(5, seed=2, share=0.3)
    agent = HaqAgent(problem, 1, warm_start=False, settings=QUICK)
    (trial,) = run(agent, problem, 1)
    bits = [trial.policy.bits[f"l{layer}"] for layer in range(5)]
    middle = {2: 1 / 6, 4: 0.5, 8: 5 / 6}
    realised = [middle[each] for pair in bits for each in (pair.weights, pair.activations)]
    replay = agent.replay
    assert replay.written == 10
    assert replay.actions[:10, 0].tolist() == pytest.approx(realised)
    assert replay.rewards[:10, 0].tolist() == pytest.approx([trial.score] * 10)
    # The last columns of the state: the action before, and whether it is the weights' turn.
    assert replay.states[:10, -2].tolist() == pytest.approx([1.0, *realised[:-1]])
    assert replay.states[:10, -1].tolist() == [1.0, 0.0] * 5


@pytest.mark.parametrize("described", [True, False])
def test_states_are_between_zero_and_one(described: bool) -> None:
    problem = bits_problem(6, seed=1, groups=2)
    if not described:
        problem = replace(problem, geometry=())
    episode = BitsEnv(problem).replay(problem.space.dense)
    assert episode.states.min() >= 0.0
    assert episode.states.max() <= 1.0
    assert len(torch.unique(episode.states, dim=0)) == len(episode.states)


def test_the_first_proposal_is_the_additive_optimum() -> None:
    problem = bits_problem(6, seed=1, options=BITFUSION)
    assert problem.sensitivity is not None
    (policy,) = HaqAgent(problem, settings=QUICK).ask(1)
    least = solve(problem.costs, problem.sensitivity.single, problem.budget)
    assert sensitivity_of(problem, policy) == pytest.approx(least.sensitivity)


def test_channels_are_dense_unless_bits_alone_cannot_meet_the_budget() -> None:
    easy = bits_problem(6, groups=6, share=0.5)
    for trial in run(HaqAgent(easy, settings=QUICK), easy, 10):
        assert set(trial.policy.channels.values()) == {16}
    tight = bits_problem(6, groups=6, share=0.12)
    for sensitivity in (tight, without_sensitivity(tight)):
        channels = {
            tuple(trial.policy.channels.values())
            for trial in run(HaqAgent(sensitivity, settings=QUICK), tight, 10)
        }
        assert len(channels) == 1
        assert min(channels.pop()) < 16


def test_what_cannot_be_met_is_refused_with_the_least() -> None:
    with pytest.raises(InfeasibleError, match="the least is"):
        make_agent("haq", bits_problem(4, share=1e-4))


def test_a_space_without_bits_is_refused_with_what_would_serve() -> None:
    with pytest.raises(SpaceError, match=r"this space offers none.*lagrangian"):
        make_agent("haq", made_problem(4))


def test_layers_of_blocks_that_the_budget_leaves_out_have_no_steps() -> None:
    problem = bits_problem(3, share=0.08, conversion=0.0, block=True)
    env = BitsEnv(problem)
    assert [problem.space.variables[variable].name for variable in env.layers] == ["l0", "l1"]
    with pytest.raises(SpaceError, match="leaves out the blocks of all"):
        BitsEnv(bits_problem(1, share=0.03, conversion=0.0, block=True))


def test_grids_step_to_the_nearest_that_goes_together() -> None:
    layer_bits = LayerBits(
        Variable("bits", "l", (Bits(4, 8), Bits(8, 8), Bits(16, 16), Bits(32, 32)))
    )
    assert layer_bits.stepped(3, "activations", -1) == 3
    assert layer_bits.stepped(3, "weights", -1) == 2
    assert layer_bits.stepped(1, "weights", 1) == 2
    assert layer_bits.stepped(0, "weights", -1) == 0


def test_it_learns_from_nothing_to_near_the_known_optimum() -> None:
    problem = bits_problem(8, seed=5, share=0.4)
    assert problem.sensitivity is not None
    least = solve(problem.costs, problem.sensitivity.single, problem.budget)
    assert least.proven
    trials = run(HaqAgent(problem, 5, warm_start=False, settings=QUICK), problem, 80)
    by_chance = np.mean([trial.score for trial in trials[: QUICK.warm_up] if trial.score])
    learned = np.mean([trial.score for trial in trials[-30:] if trial.score])
    assert learned > by_chance + 0.3 * (-least.sensitivity - by_chance)
    assert -least.sensitivity - best(trials) < 0.1 * (-least.sensitivity - by_chance)


def test_a_warm_start_that_is_off_is_improved_on() -> None:
    truth = bits_problem(12, seed=3, options=BITFUSION, share=0.4)
    assert truth.sensitivity is not None
    generator = np.random.default_rng(3)
    sensitivity = tuple(each * generator.lognormal(0.0, 1.0) for each in truth.sensitivity.single)
    mistaken = replace(truth, sensitivity=Sensitivity(sensitivity, images=1))
    trials = run(HaqAgent(mistaken, 3, settings=QUICK), truth, 50)
    rival = run(make_agent("random", mistaken, 3), truth, 50)
    assert best(trials) > best(trials[:1])
    assert best(trials) > best(rival)
