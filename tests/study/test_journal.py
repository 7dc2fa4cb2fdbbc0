"""Studies in Optuna's journal file."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from chains import Climber, chain_problem, score
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from automl.errors import LockedError, StudyError
from automl.study.identity import Identity
from automl.study.journal import open_journal
from automl.study.lease import leased
from automl.study.loop import StudyResult, StudySettings, run_study
from automl.study.problem import Infeasible
from automl.study.storage import TrialStore, delete_study

IDENTITY = Identity("random", 0, "weights", "data", "space", "prices", "1 MB")
HOLDING = """
import sys, time
from automl.study.lease import leased
with leased(sys.argv[1], "runs/a"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "studies.log"


def search(path: Path | None, trials: int, name: str = "runs/a") -> StudyResult:
    problem = chain_problem(0.7)
    address = None if path is None else f"journal:///{path}"
    settings = StudySettings(
        trials=trials, storage_url=address, name=name, agent_name="climber", resume=True
    )
    return run_study(problem, Climber(problem, 0), score, settings)


def timeless(result: StudyResult) -> list[object]:
    return [(each.number, each.policy, each.state) for each in result.trials]


def test_a_study_is_gone_on_with(path: Path) -> None:
    search(path, 16)
    search(path, 8, "runs/b")
    assert timeless(search(path, 30)) == timeless(search(None, 30))
    storage = JournalStorage(JournalFileBackend(str(path)))  # as optuna-dashboard reads it
    counts = {each.study_name: each.n_trials for each in optuna.get_all_study_summaries(storage)}
    assert counts == {"runs/a": 30, "runs/b": 8}
    delete_study(f"journal:///{path}", "runs/a")
    assert optuna.get_all_study_names(JournalStorage(JournalFileBackend(str(path)))) == ["runs/b"]


def test_a_line_that_was_cut_off_is_dropped(path: Path) -> None:
    """Whether it was there before, or another's crash leaves it while we write."""
    search(path, 8)
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    assert timeless(search(path, 16)) == timeless(search(None, 16))
    problem = chain_problem()
    dense = Infeasible(0, problem.space.decode(problem.space.dense), problem.costs.dense, 0.0)
    with TrialStore(f"journal:///{path}", "runs/b", problem.space) as store:
        store.claim(IDENTITY, resume=False)
        with path.open("ab") as file:
            file.write(b'{"op_code":4,"wor')
        store.add(dense, asked=1)
        assert len(store.claim(IDENTITY, resume=True)) == 1
    assert timeless(search(path, 16)) == timeless(search(None, 16))


def test_a_disk_that_is_full_for_a_while_costs_no_trial_and_doubles_none(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync, left = os.fsync, [1]

    def full(number: int) -> None:
        """The line may be on the disk, or not."""
        if b'"op_code":4' in path.read_bytes() and left:
            left.pop()
            raise OSError(errno.ENOSPC, "no space left on device")
        sync(number)

    monkeypatch.setattr("optuna.storages.journal._file.os.fsync", full)
    found = search(path, 10)
    assert left == []
    assert timeless(search(path, 10)) == timeless(found) == timeless(search(None, 10))


def test_trials_of_another_search_are_not_mixed_with_ours(path: Path) -> None:
    problem, address = chain_problem(), f"journal:///{path}"
    dense = Infeasible(0, problem.space.decode(problem.space.dense), problem.costs.dense, 0.0)
    with TrialStore(address, "a", problem.space) as one:
        one.claim(IDENTITY, resume=False)
        with TrialStore(address, "a", problem.space) as other:
            other.claim(IDENTITY, resume=False)
            other.add(dense, asked=1)
        with pytest.raises(StudyError, match="another search has added trials"):
            one.add(dense, asked=1)


def test_the_second_search_of_a_study_is_told_of_the_first(path: Path) -> None:
    address = f"journal:///{path}"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING, address], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        said = rf"study 'runs/a' in journal:///\S+ is in use by process {holder.pid} on "
        with pytest.raises(LockedError, match=said), leased(address, "runs/a"):
            pass
        with leased(address, "runs/b"), leased(address, "runs/" + "long/" * 60):
            pass
        holder.kill()
        holder.wait()
    with leased(address, "runs/a"):
        pass


def test_a_journal_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    address = f"journal:///{tmp_path / 'missing' / 'studies.log'}"
    with (
        pytest.raises(StudyError, match=r"study storage journal:.*missing/studies.log cannot be"),
        leased(address, "runs/a"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StudyError, match=r"study storage journal:.*No such file"):
        TrialStore(address, "runs/a", chain_problem().space)


def test_a_file_that_is_no_journal_is_refused(path: Path) -> None:
    path.write_text("this is\nno journal\n")
    with pytest.raises(StudyError, match=r"study storage journal:.*JSONDecodeError"):
        search(path, 4)
    assert path.read_text() == "this is\nno journal\n"


def test_an_empty_journal_is_begun(path: Path) -> None:
    path.touch()
    assert open_journal(path).get_all_studies() == []
    assert len(search(path, 4).trials) == 4
