"""Everything from Python, on a small network: with objects, and like the command."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from tiny import SHAPE, Tiny, agreement, loaders, model, write_table

import automl
from automl import api
from automl.cli.main import run
from automl.errors import DataError, InfeasibleError, OptionError, UsageError
from automl.options.declare import options_of
from automl.options.search import SearchOptions

#: A short search.
SHORT: dict[str, Any] = {"trials": 4, "round_to": 4, "resolutions": (12, 16), "score": agreement}


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A table, in the working folder of a notebook."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTOML_HOME", str(tmp_path))
    return str(write_table(tmp_path / "board.jsonl"))


def test_a_search_gives_the_model_ready_to_run(board: str) -> None:
    result = automl.search(model(), loaders(), target=board, budget="60%", **SHORT)
    assert not result.model.training
    inputs = torch.randn(1, 3, *[result.policy.policy.resolution or 16] * 2)
    with torch.no_grad():
        outputs = result.model(inputs)
    session = onnxruntime.InferenceSession(result.out / "model.onnx")
    (name,) = [each.name for each in session.get_inputs()]
    there = session.run(None, {name: inputs.numpy()})[0]
    assert torch.allclose(outputs, torch.from_numpy(there), atol=1e-4)
    assert sum(p.numel() for p in result.model.parameters()) < sum(
        p.numel() for p in model().parameters()
    )


def test_the_dense_model_is_the_result_where_it_fits(board: str) -> None:
    result = automl.search(model(), loaders(), target=board, budget="100%", **SHORT)
    inputs = torch.randn(2, *SHAPE[1:])
    with torch.no_grad():
        assert torch.allclose(result.model(inputs), model()(inputs), atol=1e-5)


def test_each_call_without_a_folder_has_one_of_its_own(board: str) -> None:
    first, second = (
        automl.search(model(), loaders(), target=board, budget="60%", **SHORT) for _ in range(2)
    )
    assert (first.out, second.out) == (
        Path("runs/Tiny-board-60pct"),
        Path("runs/Tiny-board-60pct-2"),
    )
    assert first.policy.policy == second.policy.policy
    fronts = [
        automl.search_front(model(), loaders(), target=board, budgets=["70%", "80%"], **SHORT)
        for _ in range(2)
    ]
    assert len({result.out for front in fronts for result in front}) == 4


def test_a_policy_is_applied_and_verified(board: str) -> None:
    result = automl.search(model(), loaders(), target=board, budget="60%", **SHORT)
    applied = automl.apply(
        result.policy_path, model(), loaders(), score=agreement, export="small.onnx"
    )
    assert applied.compressed.score == pytest.approx(result.compressed.score)
    assert applied.export_path == Path("small.onnx")
    assert applied.weights_path == result.out / "model.pt"
    there = dict(result.model.named_parameters())
    for name, value in applied.model.named_parameters():
        assert torch.equal(value, there[name]), name
    measured = automl.verify(result.policy, model(), loaders(), target=board)
    assert measured.compressed.predicted_seconds == result.compressed.predicted_seconds


def test_a_front_has_a_model_each(board: str) -> None:
    given: dict[str, Any] = {"target": board, "budgets": ["60%"], **SHORT}
    results = automl.search_front(model(), loaders(), count=2, **given)
    assert len(results) == 2
    sizes = [sum(p.numel() for p in result.model.parameters()) for result in results]
    assert sizes[0] <= sizes[1]
    (auto,) = automl.search_front(model(), loaders(), precisions="auto", out="auto", **given)
    assert auto.policy.policy.bits == {}


def test_a_device_is_profiled(board: str) -> None:
    with pytest.raises(OptionError, match=r"^target: expected text"):
        automl.profile(target="")
    result = automl.profile(Tiny(), SHAPE[1:], round_to=8, resolutions="off", depth=False)
    assert result.measured + result.known == result.asked > 0


def test_the_same_search_gives_the_same_policy_however_it_is_called(
    board: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Path(inspect.getfile(Tiny))
    names = {key: f"{source}:{key}" for key in ("model", "agreement", "loaders")}
    names = {"model": names["model"], "data": names["loaders"], "score": names["agreement"]}
    given: dict[str, Any] = {"target": board, "budget": ["60%", "80%size"], "agent": "random"}
    given |= {"trials": 3, "round_to": 4, "resolutions": [12, 16], "seed": 7, "depth": False}
    found = [automl.search(model(), loaders(), score=agreement, out="python", **given).policy]

    def command(*words: str) -> automl.PolicyFile:
        monkeypatch.setattr(sys, "argv", ["automl", "search", *words])
        monkeypatch.setattr(sys, "path", sys.path.copy())
        monkeypatch.setattr(sys, "excepthook", sys.excepthook)
        with pytest.raises(SystemExit) as ended:
            run()
        assert ended.value.code == 0
        return automl.read_policy(Path(words[1]) / "policy.json")

    flags = "--budget 60% --budget 80%size --agent random --trials 3 --round-to 4 --no-depth"
    more = f"--resolutions 12,16 --seed 7 --target {board}"
    named = [word for name, value in names.items() for word in (f"--{name}", value)]
    found.append(command("--out", "flags", *flags.split(), *more.split(), *named))
    lines = [f"{name} = {json.dumps(value)}" for name, value in (names | given).items()]
    Path("automl.toml").write_text("\n".join(lines))
    found.append(command("--out", "file"))
    first, *others = found
    for other in others:
        assert other.policy == first.policy
        assert (other.budget, other.seed, other.agent) == (first.budget, first.seed, first.agent)
        assert (other.score, other.predicted) == (first.score, first.predicted)


def test_a_problem_is_searched_with_a_score_of_ones_own(board: str) -> None:
    prepared = automl.prepare(model(), loaders(), target=board, budget="60%", **SHORT)
    asked: list[automl.Policy] = []

    def fewest(policy: automl.Policy) -> float:
        asked.append(policy)
        return -float(sum(p.numel() for p in prepared.make(policy).parameters()))

    found = automl.search_problem(prepared.problem, fewest, agent="random", trials=5, seed=3)
    assert found.best is not None
    assert found.best.score == max(map(fewest, asked.copy()))
    assert all(prepared.problem.budget.allows(trial.cost) for trial in found.trials)
    usual = automl.search_problem(prepared.problem, prepared.evaluate)
    assert usual.best is not None
    with pytest.raises(UsageError, match=r"no argument 'trails' \(did you mean trials\?\)"):
        automl.search_problem(prepared.problem, fewest, trails=3)


class Score:
    """A score that is no function."""

    def __call__(self, network: Any, data: Any) -> float:
        return agreement(network, data)


def test_models_and_data_may_be_named_as_the_command_does(tmp_path: Path) -> None:
    arrays = np.random.default_rng(0).random((40, 1, 6, 6), np.float32)
    np.savez(tmp_path / "some.npz", x_train=arrays, x_val=arrays, y_train=[0] * 40, y_val=[0] * 40)
    (tmp_path / "nets.py").write_text(
        "from torch import nn\ndef net(width):\n"
        "    return nn.Sequential(nn.Conv2d(1, width, 3), nn.Flatten(), nn.Linear(64, 2))\n"
    )
    spec, data = f"{tmp_path}/nets.py:net(4)", f"{tmp_path}/some.npz"
    task = api.make_task(spec, data)
    assert (task.model_name, task.data_name) == (spec, data)


def test_anything_callable_is_a_score() -> None:
    assert api.make_task(model(), loaders(), Score()).score_name == "Score"
    task = api.make_task(model(), loaders(), lambda network, data: torch.tensor(0.5))
    assert task.score(task.model, task.data.validation) == 0.5
    broken = api.make_task(model(), loaders(), lambda network, data: "good")
    with pytest.raises(DataError, match="expected a number"):
        broken.score(broken.model, broken.data.validation)


def test_what_is_wrong_is_said_before_any_work(board: str) -> None:
    for given, error, said in (
        ({"budget": "60%", "traget": board}, UsageError, "no argument 'traget'"),
        ({"budget": "60%"}, OptionError, "target: has to be given"),
        ({"budget": "60%,50%", "target": board}, OptionError, "budget: asks for several"),
        ({"budget": "60%", "target": board, "trials": 0}, OptionError, "trials: expected a whole"),
    ):
        with pytest.raises(error, match=said):
            automl.search(None, None, **given)
    with pytest.raises(OptionError, match="budgets: at least one"):
        automl.search_front(None, None, target=board, budgets=[])
    with pytest.raises(OptionError, match="60% is asked for twice"):
        automl.search_front(None, None, target=board, budgets=["60%", "60%"])
    with pytest.raises(OptionError, match="huffman: codes the packed weights"):
        automl.apply("no.json", None, None, huffman=True)
    with pytest.raises(InfeasibleError):
        automl.search(model(), loaders(), target=board, budget="0.01%", **SHORT)


def test_a_network_may_be_priced_at_another_size_than_the_datas() -> None:
    task = api.make_task(model(), loaders(), input_shape=(3, 24, 32))
    assert (task.input_shape, task.data.input_shape) == ((1, 3, 24, 32), (1, 3, 16, 16))
    with pytest.raises(OptionError, match="input_shape: differs in more than its size"):
        api.make_task(model(), loaders(), input_shape=(1, 24, 32))


def test_signatures_show_the_options() -> None:
    parameters = inspect.signature(automl.search).parameters
    assert [*parameters][:5] == ["model", "data", "score", "input_shape", "on_event"]
    options = {each.name: each for each in options_of(SearchOptions)}
    own = {"model", "data", "score", "input_shape", "on_event"}
    assert {*parameters} - own == {*options}
    for name, option in options.items():
        assert f"    {name}: {option.help}" in (automl.search.__doc__ or "")
    assert "budget" not in inspect.signature(automl.search_front).parameters
    assert {*inspect.signature(automl.search_problem).parameters} >= {"agent", "trials", "time"}


def test_lists() -> None:
    assert "cpu" in {target.name for target in automl.list_targets()}
    assert "lagrangian" in {method.name for method in automl.list_methods("agents")}
    with pytest.raises(UsageError, match="did you mean agents"):
        automl.list_methods("agnets")
