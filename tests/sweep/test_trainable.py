"""A search as a trial in other people's Tune scripts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ray import tune
from tiny_sweeps import COMMON

from automl.errors import UsageError
from automl.study import connected
from automl.sweep import SearchTrainable, search_space
from automl.sweep.trainable import METRIC

# Ray's own code is not as strict as ours.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"
)


@pytest.fixture(scope="module")
def ray() -> Iterator[None]:
    with connected("local"):
        yield


def test_lists_are_grids_and_draws_stay() -> None:
    drawn = tune.choice([0, 1])
    space = search_space(target=["a", "b"], budget="50%", seed=drawn)
    assert space["target"] == {"grid_search": ["a", "b"]}
    assert space["budget"] == "50%"
    assert space["seed"] is drawn


def test_an_option_that_there_is_not_is_named() -> None:
    with pytest.raises(UsageError, match=r"no option 'buget' \(did you mean budget"):
        search_space(buget="50%")
    with pytest.raises(UsageError, match="no option 'out'"):
        search_space(out="x")


@pytest.mark.usefixtures("ray")
def test_a_tune_script_of_ones_own(board: Path, tmp_path: Path) -> None:
    fixed = {**COMMON, "resolutions": "12,16", "target": str(board), "agent": "random"}
    space = search_space(**fixed, budget=["60%", "40%", "0.1%"])
    config = tune.TuneConfig(metric=METRIC, mode="max", reuse_actors=True)
    stored = tune.RunConfig(storage_path=str(tmp_path), name="mine", verbose=0)
    results = tune.Tuner(
        SearchTrainable, param_space=space, tune_config=config, run_config=stored
    ).fit()
    assert not results.errors
    states = [result.metrics["state"] for result in results]
    assert states == ["COMPLETE", "COMPLETE", "INFEASIBLE"]
    assert results.get_best_result().config["budget"] == "60%"
    for result in list(results)[:2]:
        assert (Path(result.path) / "search" / "policy.json").is_file()
        reports = result.metrics_dataframe
        assert list(reports[METRIC]) == sorted(reports[METRIC])
        assert list(reports["trials"])[:3] == [1, 2, 3]
    assert len(list((tmp_path / "mine" / "shared").glob("prepared-*.pt"))) == 1
