"""The study loop: budgets, failures, storage, interruption, resumption."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import optuna
import pytest
from chains import Climber, chain_problem, score

from automl.errors import StudyError
from automl.policy.policy import Policy
from automl.study import loop
from automl.study.loop import StudyResult, StudySettings, pareto_front, run_study
from automl.study.problem import Completed, Evaluation, Failed, Problem, Trial


def search(
    problem: Problem,
    evaluate: Callable[[Policy], float] = score,
    *,
    trials: int = 40,
    seed: int = 0,
    folder: Path | None = None,
    resume: bool = False,
    agent_name: str = "climber",
    on_trial: Callable[[Trial, Completed | None], None] | None = None,
) -> StudyResult:
    return run_study(
        problem,
        Climber(problem, seed),
        evaluate,
        StudySettings(
            trials=trials,
            storage_url=None if folder is None else f"sqlite:///{folder}/study.db",
            agent_name=agent_name,
            seed=seed,
            resume=resume,
        ),
        on_trial,
    )


def test_without_a_storage_nothing_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = search(chain_problem(), folder=tmp_path)

    def none(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(loop, "TrialStore", none)
    assert timeless(search(chain_problem()).trials) == timeless(stored.trials)


def interrupt_after(count: int) -> Callable[[Policy], float]:
    calls = iter(range(count))

    def evaluate(policy: Policy) -> float:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return score(policy)

    return evaluate


def timeless(trials: Sequence[Trial]) -> list[object]:
    return [(t.number, t.policy, t.cost.macs, t.state, score_of(t)) for t in trials]


def images_of(result: StudyResult) -> list[int | None]:
    return [trial.images for trial in result.trials if isinstance(trial, Completed)]


def score_of(trial: Trial) -> float | None:
    return trial.score if isinstance(trial, Completed) else None


def test_over_budget_is_never_scored() -> None:
    problem = chain_problem(0.6)
    scored: list[Policy] = []
    result = search(problem, lambda policy: scored.append(policy) or score(policy))
    states = {trial.state for trial in result.trials}
    assert states == {"COMPLETE", "INFEASIBLE"}
    assert all(problem.budget.allows(problem.costs.cost(policy)) for policy in scored)
    assert result.best is not None
    assert result.best.score == max(t.score for t in result.trials if isinstance(t, Completed))


def test_a_policy_is_scored_once() -> None:
    problem = chain_problem()
    scored: list[bytes] = []

    def evaluate(policy: Policy) -> float:
        scored.append(problem.space.encode(policy).tobytes())
        return score(policy)

    result = search(problem, evaluate, trials=100)
    assert len(result.trials) == 100
    assert len(scored) == len(set(scored)) < 100
    assert {t.state for t in result.trials} == {"COMPLETE"}


def test_failures_are_kept_with_their_reason_and_the_search_goes_on() -> None:
    def evaluate(policy: Policy) -> float:
        if policy.removed:
            raise ValueError("no block left")
        return float("nan") if policy.channels["a"] == 16 else score(policy)

    result = search(chain_problem(), evaluate)
    reasons = {
        trial.reason.partition(" (")[0] for trial in result.trials if isinstance(trial, Failed)
    }
    assert reasons == {"ValueError: no block left", "the score is nan"}
    assert result.best is not None


def test_ten_failures_in_a_row_stop_with_the_first_reason() -> None:
    calls: list[int] = []

    def evaluate(_: Policy) -> float:
        calls.append(1)
        raise ValueError(f"bad {len(calls)}")

    with pytest.raises(StudyError, match=r"^10 trials in a row failed; the first: .*bad 1 "):
        search(chain_problem(), evaluate)
    assert len(calls) == 10


def test_an_agent_that_proposes_nothing_is_finished() -> None:
    class Finished(Climber):
        def ask(self, count: int) -> list[Policy]:
            return super().ask(1) if self.best == -np.inf else []

    problem = chain_problem()
    result = run_study(problem, Finished(problem, 0), score, StudySettings())
    assert len(result.trials) == 1


def test_no_time_means_no_trial() -> None:
    problem = chain_problem()
    result = run_study(problem, Climber(problem, 0), score, StudySettings(seconds=0.0))
    assert result == StudyResult((), None, ())


def test_it_is_told_when_the_agent_is_asked_and_when_it_has_answered() -> None:
    told: list[bool] = []

    class Slow(Climber):
        def ask(self, count: int) -> list[Policy]:
            assert told[-1]  # before it begins to think
            return super().ask(count)

    problem = chain_problem()
    settings = StudySettings(trials=12)
    run_study(problem, Slow(problem, 0), score, settings, on_asking=told.append)
    assert told == [True, False, True, False]


def test_progress_is_told_with_the_best_so_far() -> None:
    seen: list[tuple[int, float]] = []
    result = search(
        chain_problem(),
        on_trial=lambda trial, best: seen.append((trial.number, best.score if best else -1.0)),
    )
    assert [number for number, _ in seen] == list(range(40))
    assert [best for _, best in seen] == sorted(best for _, best in seen)
    assert result.best is not None
    assert seen[-1][1] == result.best.score


@pytest.mark.parametrize("cut", [1, 4, 9])
def test_interrupted_and_resumed_ends_like_an_unbroken_run(tmp_path: Path, cut: int) -> None:
    problem = chain_problem(0.7)
    unbroken = search(problem)
    broken = search(problem, interrupt_after(cut), folder=tmp_path)
    assert broken.interrupted
    assert sum(t.state == "COMPLETE" for t in broken.trials) >= cut
    resumed = search(problem, folder=tmp_path, resume=True)
    assert not resumed.interrupted
    assert timeless(resumed.trials) == timeless(unbroken.trials)
    assert timeless(resumed.front) == timeless(unbroken.front)


def test_resuming_scores_nothing_again_and_can_go_further(tmp_path: Path) -> None:
    problem = chain_problem()
    search(problem, trials=10, folder=tmp_path)
    again = search(problem, interrupt_after(0), trials=10, folder=tmp_path, resume=True)
    assert (len(again.trials), again.interrupted) == (10, False)
    further = search(problem, trials=30, folder=tmp_path, resume=True)
    assert len(further.trials) == 30
    assert timeless(further.trials[:10]) == timeless(again.trials)


def test_a_killed_process_loses_no_finished_trial(tmp_path: Path) -> None:
    script = f"""
        import os, sys
        sys.path[:0] = {[str(Path(__file__).parent), *sys.path]!r}
        from pathlib import Path
        import test_loop as t
        calls = []
        def evaluate(policy):
            calls.append(policy)
            if len(calls) == 6:
                os.kill(os.getpid(), 9)
            return t.score(policy)
        t.search(t.chain_problem(), evaluate, folder=Path({str(tmp_path)!r}))
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False)
    assert killed.returncode == -9
    resumed = search(chain_problem(), folder=tmp_path, resume=True)
    assert timeless(resumed.trials) == timeless(search(chain_problem()).trials)
    assert any(trial.seconds > 0.0 for trial in resumed.trials)
    stored = optuna.load_study(study_name="search", storage=f"sqlite:///{tmp_path}/study.db")
    assert len(stored.trials) == 40


def test_a_study_with_trials_is_not_overwritten(tmp_path: Path) -> None:
    search(chain_problem(), trials=4, folder=tmp_path)
    with pytest.raises(StudyError, match="holds 4 trials already: resuming"):
        search(chain_problem(), folder=tmp_path)


@pytest.mark.parametrize(
    ("share", "seed", "agent_name", "named"),
    [
        (0.5, 0, "climber", "another budget: 'macs"),
        (1.0, 1, "climber", "another seed: 0, this search 1"),
        (1.0, 0, "other", "another agent: 'climber', this search 'other'"),
    ],
)
def test_another_search_does_not_resume(
    tmp_path: Path, share: float, seed: int, agent_name: str, named: str
) -> None:
    search(chain_problem(), trials=4, folder=tmp_path)
    with pytest.raises(StudyError, match=named):
        search(chain_problem(share), seed=seed, agent_name=agent_name, folder=tmp_path, resume=True)


def test_an_agent_that_proposes_otherwise_does_not_resume(tmp_path: Path) -> None:
    problem = chain_problem()
    search(problem, trials=8, folder=tmp_path)
    url = f"sqlite:///{tmp_path}/study.db"
    with pytest.raises(StudyError, match="trial 0 of the stored study is not what"):
        run_study(
            problem,
            Climber(problem, 5),
            score,
            StudySettings(trials=8, storage_url=url, agent_name="climber", resume=True),
        )


def test_a_file_that_is_no_study_is_refused(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("this is not a database, whatever its name says" * 20)
    with pytest.raises(StudyError, match=r"study storage sqlite:.*not a database"):
        search(chain_problem(), folder=tmp_path)


def test_stored_trials_read_like_a_study_of_optuna(tmp_path: Path) -> None:
    result = search(chain_problem(0.7), folder=tmp_path)
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{tmp_path}/study.db")
    assert result.best is not None
    assert study.best_value == result.best.score
    assert set(study.best_trial.params) == {"block:block", "channels:a", "channels:b"}
    assert study.best_trial.params["channels:a"] == result.best.policy.channels["a"]
    states = {trial.user_attrs["state"] for trial in study.trials}
    assert states == {"COMPLETE", "INFEASIBLE"}


def test_the_front_holds_what_no_other_beats() -> None:
    result = search(chain_problem(), trials=60)
    front = pareto_front(result.trials, "macs")
    assert front == result.front
    scored = [t for t in result.trials if isinstance(t, Completed)]
    for trial in scored:
        assert any(
            each.score >= trial.score and each.cost.macs <= trial.cost.macs for each in front
        )
    macs = [t.cost.macs for t in front]
    assert macs == sorted(set(macs))
    assert result.best in front


class Racer:
    """Scores of 10 images by policy; gives up what is far below the incumbent."""

    def __init__(self, stop: Callable[[], None] = lambda: None) -> None:
        self.asked: list[tuple[Policy, Policy | None]] = []
        self.stop = stop

    def __call__(self, policy: Policy) -> float:
        return self.evaluate_against(policy, None).score

    def evaluate_against(self, policy: Policy, incumbent: Policy | None) -> Evaluation:
        self.stop()
        self.asked.append((policy, incumbent))
        full = score(policy)
        if incumbent is not None and full < score(incumbent) - 2.0:
            return Evaluation((full + score(incumbent)) / 2, 4)
        return Evaluation(full, 10)


def interrupting(count: int) -> Racer:
    calls = iter(range(count))

    def stop() -> None:
        if next(calls, None) is None:
            raise KeyboardInterrupt

    return Racer(stop)


def test_an_evaluator_that_races_is_told_the_best_so_far() -> None:
    racer = Racer()
    result = search(chain_problem(), racer)
    assert [incumbent is None for _, incumbent in racer.asked] == [True] + [False] * (
        len(racer.asked) - 1
    )
    best = [score(policy) for policy, _ in racer.asked[:1]]
    for policy, incumbent in racer.asked[1:]:
        assert incumbent is not None
        assert score(incumbent) == max(best)
        best.append(score(policy))
    assert set(images_of(result)) == {4, 10}
    assert result.best is not None
    assert result.best.images == 10
    assert result.best.score == score(result.best.policy)


@pytest.mark.parametrize("cut", [1, 5, 11])
def test_a_race_resumed_ends_like_an_unbroken_one(tmp_path: Path, cut: int) -> None:
    problem = chain_problem(0.7)
    unbroken = search(problem, Racer())
    assert search(problem, interrupting(cut), folder=tmp_path).interrupted
    resumed = search(problem, Racer(), folder=tmp_path, resume=True)
    assert timeless(resumed.trials) == timeless(unbroken.trials)
    assert images_of(resumed) == images_of(unbroken)
    assert 4 in images_of(resumed)


def test_full_scores_are_for_who_asks_for_them() -> None:
    class Front(Climber):
        full_scores = True

    problem = chain_problem()
    for agent, asked in ((Climber(problem, 0), True), (Front(problem, 0), False)):
        racer = Racer()
        result = run_study(problem, agent, racer, StudySettings(trials=20, full_scores=asked))
        assert {incumbent for _, incumbent in racer.asked} == {None}
        assert set(images_of(result)) == {10}


@pytest.mark.parametrize(
    ("score_name", "options", "named"),
    [
        ("logits", "warm_start=True", "another score: 'accuracy', this search 'logits'"),
        (
            "accuracy",
            "warm_start=False",
            "another options: 'warm_start=True', this search 'warm_start=False'",
        ),
    ],
)
def test_another_score_or_other_options_do_not_resume(
    tmp_path: Path, score_name: str, options: str, named: str
) -> None:
    problem, url = chain_problem(), f"sqlite:///{tmp_path}/study.db"

    def again(score_name: str, options: str, resume: bool) -> StudyResult:
        settings = StudySettings(
            trials=4, storage_url=url, resume=resume, score_name=score_name, options=options
        )
        return run_study(problem, Climber(problem, 0), score, settings)

    again("accuracy", "warm_start=True", False)
    assert len(again("accuracy", "warm_start=True", True).trials) == 4
    with pytest.raises(StudyError, match=named):
        again(score_name, options, True)
