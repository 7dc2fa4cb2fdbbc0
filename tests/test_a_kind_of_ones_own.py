"""A search with a kind of choice from a test's file: priced, measured, solved, stored, applied."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from compressed import outputs_of
from torch import Tensor, nn
from torch.nn import functional as F

from automl.agents import make_agent
from automl.compression import Compressor, QuantizedModel, measure_sensitivity
from automl.cost import Budget, Limit, build_cost_model, operators_of
from automl.errors import PolicyError, SpaceError
from automl.latency import OpKey, op_key
from automl.network import TracedModel, trace_network
from automl.policy import FP32, Bits, Policy, PolicyFile, choices, read_policy, write_policy
from automl.solver import solve
from automl.space import Space, SpaceSettings, open_space
from automl.study import (
    Completed,
    Evaluator,
    Problem,
    StudySettings,
    judge,
    read_geometry,
    run_study,
)
from automl.userdata import Batches, Logits
from handmade import Formula
from policy_files import policy_file
from toy_kind import TaperKind, known

SHAPE = (1, 3, 12, 12)
COUNTS = {"first": (4, 8), "second": (6, 12)}


class Net(nn.Module):
    """Three convolutions, the middle one in a block that can be left out, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.block = Residual()
        self.second = nn.Conv2d(8, 12, 3, stride=2, padding=1)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block(F.relu(self.first(x)))
        return self.head(F.relu(self.second(x)).mean((2, 3)))


class Residual(nn.Module):
    """x + conv(x)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.conv(x))


@pytest.fixture(autouse=True)
def _known() -> Iterator[None]:
    with known():
        yield


@pytest.fixture
def traced() -> TracedModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return trace_network(Net().eval(), SHAPE, resolutions=())


def images(count: int, seed: int = 0) -> Tensor:
    return torch.randn((count, *SHAPE[1:]), generator=torch.Generator().manual_seed(seed))


def made_space(traced: TracedModel) -> Space:
    return open_space(
        traced.network, SpaceSettings(round_to={"first": 4, "second": 6}, kinds=["taper"])
    )


def test_the_space_has_its_choices_inside_their_blocks(traced: TracedModel) -> None:
    space = made_space(traced)
    tapers = [space.variables[i] for i in space.of_kind("taper")]
    assert [each.name for each in tapers] == ["first", "block.conv", "second"]
    assert {each.options for each in tapers} == {(1, 2, 4, None)}
    ((gate, inside),) = space.nested
    assert space.variables[gate].name == "block"
    assert space.positions["taper", "block.conv"] in inside


def test_every_policy_costs_what_the_lowered_network_does(traced: TracedModel) -> None:
    space, formula = made_space(traced), Formula()
    costs = build_cost_model(traced.network, space, formula, counts=17)
    seen = set()
    for vector in space.random(60, np.random.default_rng(0)):
        policy = space.decode(vector)
        keys = by_hand(traced, policy)
        seen |= set(operators_of(traced.network, policy, FP32))
        assert set(operators_of(traced.network, policy, FP32)) == {key for key, _ in keys}
        found = costs.cost(policy)
        assert found.latency == pytest.approx(sum(formula.price(key) for key, _ in keys), rel=1e-12)
        assert found.macs == sum(key.macs for key, _ in keys)
        assert found.bytes == pytest.approx(sum(size for _, size in keys))
    assert {key.kernel for key in seen if key.op == "conv2d"} == {(3, 3), (3, 1), (1, 3)}


def by_hand(traced: TracedModel, policy: Policy) -> list[tuple[OpKey, float]]:
    """Operators of a policy's network with the bytes of their weights."""
    found: list[tuple[OpKey, float]] = []
    for layer in traced.network.shapes(policy.channels, policy.removed):
        text = policy.further.get("taper", {}).get(layer.name, "dense")
        parts = TaperKind().lower(TaperKind().parse(text), layer)
        for part in parts:
            weighted = part.op in ("conv2d", "linear")
            weights = part.in_channels * part.out_channels * part.kernel[0] * part.kernel[1]
            biases = part.out_channels if part is parts[-1] else 0
            found.append((op_key(part), 4.0 * (weights + biases) if weighted else 0.0))
    return found


def test_its_sensitivity_is_that_of_the_network_it_makes(traced: TracedModel) -> None:
    space, compressor = made_space(traced), Compressor(traced, images(12), COUNTS)
    before = {name: value.clone() for name, value in traced.model.state_dict().items()}
    found = measure_sensitivity(
        compressor.database, space, compressor.images, rounded=compressor.joint
    )
    dense = outputs_of(traced.model, compressor.images)
    for position in space.of_kind("taper"):
        vector = space.dense.copy()
        for option in range(4):
            vector[position] = option
            made = compressor.make(space.decode(vector), finish=False)
            moved = outputs_of(made, compressor.images) - dense
            change = moved.square().mean() / dense.var(0).mean()
            assert found.single[position][option] == pytest.approx(float(change), rel=1e-3)
        assert found.single[position][3] == 0.0
    after = traced.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_a_policy_is_applied_and_runs_as_it_was_priced(traced: TracedModel) -> None:
    space, compressor = made_space(traced), Compressor(traced, images(32), COUNTS)
    policy = Policy({"second": 6}, further={"taper": {"first": "rank 2", "second": "rank 4"}})
    made = compressor.make(policy)
    assert [type(made.get_submodule(name)) for name in ("first", "second")] == [nn.Sequential] * 2
    assert made.get_submodule("second.1").weight.shape == (6, 4, 1, 3)
    size = sum(value.numel() for value in made.parameters())
    assert build_cost_model(traced.network, space, None).cost(policy).bytes == 4 * size
    # The finishing step solves the layers after a tapered one on what it makes of its inputs.
    fresh = images(64, 1)
    dense = outputs_of(traced.model, fresh)
    rough = compressor.make(policy, finish=False)
    assert not isinstance(made, QuantizedModel)
    lost, unfinished = ((outputs_of(each, fresh) - dense).square().mean() for each in (made, rough))
    assert lost < unfinished


def test_inside_a_removed_block_it_means_nothing(traced: TracedModel) -> None:
    compressor = Compressor(traced, images(8), COUNTS)
    policy = Policy(removed=frozenset({"block"}), further={"taper": {"block.conv": "rank 1"}})
    made = compressor.make(policy)
    assert torch.equal(made(images(4)), compressor.make(Policy(removed=policy.removed))(images(4)))


def made_problem(traced: TracedModel, compressor: Compressor, share: float) -> Problem:
    space = made_space(traced)
    costs = build_cost_model(traced.network, space, Formula(), counts=17)
    budget = Budget((Limit("macs", share * costs.dense.macs),))
    sensitivity = measure_sensitivity(
        compressor.database, space, compressor.images, rounded=compressor.joint
    )
    return Problem(space, costs, budget, sensitivity, read_geometry(traced.network, space))


def test_the_exact_solver_finds_the_best_of_all(traced: TracedModel) -> None:
    problem = made_problem(traced, Compressor(traced, images(12), COUNTS), 0.5)
    assert problem.sensitivity is not None
    single, space = problem.sensitivity.single, problem.space
    found = solve(problem.costs, single, problem.budget)
    every = np.stack([each.ravel() for each in np.indices(space.sizes, dtype=np.int16)], axis=1)
    every = np.unique(space.canonical(every), axis=0)
    harm = sum(row[every[:, place]] for place, row in enumerate(single))
    fits = problem.budget.allows_all(problem.costs.price(every))
    assert found.proven
    assert found.sensitivity == pytest.approx(harm[fits].min())
    assert space.decode(found.vector).further["taper"]


def test_a_search_from_end_to_end_and_once_more_from_its_storage(
    traced: TracedModel, tmp_path: Path
) -> None:
    compressor = Compressor(traced, images(24), COUNTS)
    problem = made_problem(traced, compressor, 0.6)
    batches = Batches([(images(16, 2), torch.zeros(16))])
    evaluate = Evaluator(compressor, batches, Logits(traced.model))

    def search(trials: int, resume: bool) -> list[tuple[Policy, float]]:
        result = run_study(
            problem,
            make_agent("optuna-tpe", problem, 0),
            evaluate,
            StudySettings(
                trials=trials,
                storage_url=f"sqlite:///{tmp_path / 'study.db'}",
                agent_name="optuna-tpe",
                resume=resume,
            ),
        )
        scored = [trial for trial in result.trials if isinstance(trial, Completed)]
        assert len(scored) == len(result.trials)
        return [(trial.policy, trial.score) for trial in scored]

    first, again = search(8, False), search(12, True)
    assert again[:8] == first
    assert len({str(policy.further) for policy, _ in again}) > 1
    best = max(again, key=lambda each: each[1] or -np.inf)[0]
    file = replace_choices(traced, best)
    write_policy(file, tmp_path / "policy.json")
    read = read_policy(tmp_path / "policy.json").policy
    assert read == best
    assert hash(read) == hash(best)
    assert np.array_equal(problem.space.encode(read), problem.space.encode(best))
    score = judge(compressor.make(read), Logits(traced.model), batches)
    assert np.isfinite(score)


def replace_choices(traced: TracedModel, policy: Policy) -> PolicyFile:
    return policy_file().model_copy(update=choices(policy, traced.network))


def test_an_option_that_is_none_is_refused_where_a_policy_is_read(tmp_path: Path) -> None:
    file = policy_file(Policy(further={"taper": {"mix": "rang 4"}}))
    write_policy(file, tmp_path / "policy.json")
    said = r"further\.taper\.mix: 'rang 4' is no option: ValueError: 'rang 4' is no rank"
    with pytest.raises(PolicyError, match=said):
        read_policy(tmp_path / "policy.json")


def test_what_runs_in_its_place_has_the_layers_bits(traced: TracedModel) -> None:
    both = SpaceSettings(precisions=(Bits(8, 8), Bits()), kinds=["taper"])
    space = open_space(traced.network, both)
    assert {"bits", "taper"} <= set(space.kinds)
    compressor = Compressor(traced, images(8), COUNTS, scheme="qdq-u8s8")
    layers = dict.fromkeys(("first", "second"), Bits(8, 8))
    made = compressor.make(Policy(bits=layers, further={"taper": {"first": "rank 1"}}))
    assert isinstance(made, QuantizedModel)
    assert made.weights.keys() == {"first.0", "first.1", "second"}


def test_a_part_that_is_none_is_refused(traced: TracedModel) -> None:
    compressor = Compressor(traced, images(8), COUNTS, scheme="qdq-u8s8")
    with pytest.raises(SpaceError, match=r"no such part \(did you mean first"):
        compressor.make(Policy(further={"taper": {"frist": "rank 1"}}))


def test_it_is_the_space_of_another_kind_that_is_told_apart(traced: TracedModel) -> None:
    space = made_space(traced)
    fewer = replace(space.variables[-1], options=(1, 2, None))
    assert Space((*space.variables[:-1], fewer), space.nested).digest != space.digest
