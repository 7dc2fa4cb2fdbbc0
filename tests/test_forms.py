"""Forms of layers from the search to the file that runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from tiny import SHAPE, request, task, tiny_network, write_simulator

from automl.agents import AGENTS, make_agent
from automl.cli.render import print_policy
from automl.cost import Budget, Limit, build_cost_model
from automl.errors import PolicyError, SpaceError, UsageError
from automl.pipeline import ApplyRequest, SearchResult, apply, search
from automl.policy import Policy, read_policy, write_policy
from automl.solver import solve
from automl.space import Sensitivity, Space, SpaceSettings, open_space
from automl.study import Problem, read_geometry
from handmade import Formula

CHOICES = "rank,taps,separable"


def searched(out: Path, **changes: Any) -> SearchResult:
    options = {"choices": CHOICES, "trials": 3, "resolutions": (), "round_to": None, **changes}
    return search(request("rpi4", out, "40%MACs", **options))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    return searched(tmp_path_factory.mktemp("forms") / "run")


def formed(policy: Policy) -> dict[str, str]:
    return {
        part: text
        for part, text in policy.further.get("form", {}).items()
        if text != "dense" and not part.startswith(tuple(f"{each}." for each in policy.removed))
    }


def test_a_search_chooses_forms_within_the_budget(found: SearchResult) -> None:
    assert formed(found.policy.policy)
    assert found.compressed.macs <= 0.4 * found.dense.macs
    assert found.compressed.counted_macs == found.compressed.macs
    sizes = sum(each.numel() for each in found.model.parameters())
    assert found.compressed.bytes == 4 * sizes


def test_a_network_of_forms_is_trained_and_keeps_its_parts(
    found: SearchResult, tmp_path: Path
) -> None:
    made = apply(
        ApplyRequest(
            task=task(), policy=found.policy, out=tmp_path / "m.pt", recover="kd:3", start="keep"
        )
    )
    before, after = found.model.state_dict(), made.model.state_dict()
    assert {n: v.shape for n, v in before.items()} == {n: v.shape for n, v in after.items()}
    assert made.compressed.counted_macs == found.compressed.counted_macs
    assert made.notes[0].startswith("recovery by kd")


def test_channels_in_another_order_are_searched_and_exported(tmp_path: Path) -> None:
    found = searched(tmp_path / "run", choices="grouped,ghost,shift")
    chosen = {text.partition(":")[0] for text in formed(found.policy.policy).values()}
    assert chosen & {"grouped", "ghost"}
    assert found.compressed.counted_macs == found.compressed.macs <= 0.4 * found.dense.macs
    path = tmp_path / "policy.json"
    write_policy(found.policy, path)
    apply(
        ApplyRequest(
            task=task(), policy=read_policy(path), out=tmp_path / "m.pt", export=tmp_path / "m.onnx"
        )
    )
    images = torch.randn((1, *SHAPE[1:]), generator=torch.Generator().manual_seed(9))
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    (ran,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(ran, found.model(images).numpy(), rtol=1e-3, atol=1e-4)


def test_the_same_search_finds_the_same(found: SearchResult, tmp_path: Path) -> None:
    again = searched(tmp_path / "again")
    assert again.policy.policy == found.policy.policy
    mine, other = found.model.state_dict(), again.model.state_dict()
    assert mine.keys() == other.keys()
    assert all(torch.equal(mine[name], other[name]) for name in mine)


def test_the_policy_makes_the_network_again_and_exports_what_runs(
    found: SearchResult, tmp_path: Path
) -> None:
    path = tmp_path / "policy.json"
    write_policy(found.policy, path)
    made = apply(
        ApplyRequest(
            task=task(), policy=read_policy(path), out=tmp_path / "m.pt", export=tmp_path / "m.onnx"
        )
    )
    images = torch.randn((2, *SHAPE[1:]), generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        expected = found.model(images)
        torch.testing.assert_close(made.model(images), expected)
    nodes = [each.op_type for each in onnx.load(tmp_path / "m.onnx").graph.node]
    layers = [each for each in found.model.modules() if isinstance(each, torch.nn.Conv2d)]
    assert nodes.count("Conv") == len(layers)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    one = session.run(None, {session.get_inputs()[0].name: images[:1].numpy()})[0]
    np.testing.assert_allclose(one, expected[:1].numpy(), rtol=1e-3, atol=1e-4)


def test_a_policy_is_shown_with_its_forms(
    found: SearchResult, capsys: pytest.CaptureFixture[str]
) -> None:
    print_policy(found.policy)
    shown = capsys.readouterr().out
    for part, text in formed(found.policy.policy).items():
        assert text in shown
        assert part in shown


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("rank-spatial:49", SpaceError, "'block.inner' cannot be rank-spatial:49: 49 channels"),
        ("taps:5x5", SpaceError, "form of 'block.inner' cannot be taps:5x5"),
        ("rank-spacial:4", PolicyError, r"form.block.inner: .* no form 'rank-spacial'"),
    ],
)
def test_a_policy_that_cannot_be_made_is_refused_by_the_layer(
    found: SearchResult, tmp_path: Path, text: str, error: type[Exception], said: str
) -> None:
    path = tmp_path / "policy.json"
    written = found.policy.model_copy(update={"further": {"form": {"block.inner": text}}})
    write_policy(written.model_copy(update={"removed": ()}), path)
    with pytest.raises(error, match=said):
        apply(ApplyRequest(task=task(), policy=read_policy(path), out=tmp_path / "m.pt"))


def test_a_target_that_knows_its_own_layers_alone_has_no_forms(tmp_path: Path) -> None:
    table = write_simulator(tmp_path / "simulated.jsonl")
    with pytest.raises(UsageError, match=r"has prices for layers as they are alone: .* \(taps\)"):
        search(request(table, tmp_path / "run", "60%", choices="channels,taps", resolutions=()))


def test_what_is_not_opened_stays(tmp_path: Path) -> None:
    only = searched(tmp_path / "run", choices="taps").policy.policy
    dense = {group.name: group.channels for group in tiny_network().groups}
    assert not only.removed
    assert not only.bits
    assert all(dense[name] == kept for name, kept in only.channels.items())
    assert formed(only)


def made_problem() -> Problem:
    """Of drawn sensitivities, larger for what multiplies less."""
    network = tiny_network()
    settings = SpaceSettings(round_to=4, resolutions=(12, 16), depth=False, kinds=("form",))
    space = open_space(network, settings)
    costs = build_cost_model(network, space, Formula(), counts=17)
    drawn = np.random.default_rng(0)
    single = tuple(np.sort(drawn.random(size))[::-1] for size in space.sizes)
    for variable, row in zip(space.variables, single, strict=True):
        row *= 0.1 if variable.kind == "form" else 1.0
        row[-1] = 0.0
    budget = Budget((Limit("latency", 0.6 * costs.dense.latency),))
    return Problem(space, costs, budget, Sensitivity(single, 4), read_geometry(network, space))


HOLDING = ("amc", "three-dims", "uniform")


@pytest.mark.parametrize("name", [name for name in AGENTS.ours if name != "haq"])
def test_agents_choose_forms_or_hold_layers_dense_and_say_so(name: str) -> None:
    problem = made_problem()
    agent = make_agent(name, problem, 0)
    policies = agent.ask(1)
    assert policies
    assert problem.budget.allows_all(
        problem.costs.price(np.stack([problem.space.encode(each) for each in policies]))
    ).all()
    assert ("form" in agent.held) == (name in HOLDING)
    if name in HOLDING:
        assert not any(formed(each) for each in policies)
    if name == "lagrangian":
        assert formed(policies[0])


def test_the_exact_solver_proves_its_optimum_over_forms() -> None:
    problem = made_problem()
    assert problem.sensitivity is not None
    single = problem.sensitivity.single
    exact = solve(problem.costs, single, problem.budget)
    assert exact.proven
    space: Space = problem.space
    vectors = space.random(4000, np.random.default_rng(1))
    fits = problem.budget.allows_all(problem.costs.price(vectors))
    assert fits.any()
    sums = sum(row[vectors[:, place]] for place, row in enumerate(single))
    assert exact.sensitivity <= sums[fits].min()
