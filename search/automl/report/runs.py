"""One run's folder as plain values for a page: what is there is read, what is not is said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from automl.documents import read_json
from automl.errors import AutomlError, StudyError
from automl.files import is_locked
from automl.policy import PolicyFile, read_policy
from automl.report.kept import KeptOutcome, KeptStart, read_kept
from automl.report.staged import line_of
from automl.report.thinning import thinned
from automl.report.trial_log import LoggedTrial, RunLog, read_log

T = TypeVar("T")

LOG: Final = "log.jsonl"
POLICY: Final = "policy.json"
START: Final = "run.json"
OUTCOME: Final = "outcome.json"
#: By any of these a folder is known for a run's.
MARKS: Final = (START, OUTCOME, POLICY, LOG)


def is_run(folder: Path) -> bool:
    """Whether a folder is a run's."""
    return any((folder / name).is_file() for name in MARKS)


def read_run(folder: Path, label: str = "") -> dict[str, Any]:
    """All that a page shows of a run, as JSON values.

    What is damaged or missing is named in "problems"; the rest is there.

    Args:
        folder: Of the run.
        label: What to call it; "" for the folder's name.
    """
    problems: list[str] = []
    start = _read(folder / START, lambda path: read_kept(path, KeptStart), problems)
    outcome = _read(folder / OUTCOME, lambda path: read_kept(path, KeptOutcome), problems)
    policy = _read(folder / POLICY, read_policy, problems)
    log = _read(folder / LOG, read_log, problems) or RunLog()
    if log.damaged:
        problems.append(f"{log.damaged} lines of {LOG} are damaged and left out")
    line = line_of(folder, problems)
    if start is None and policy is not None and not line:
        problems.append(
            f"there is no {START}: choices, sensitivities, digests and the command are not known"
        )
    state = _state(folder, outcome, staged=bool(line) and policy is not None)
    variables = [] if start is None else [len(each.options) for each in start.variables]
    shown = thinned(log.trials)
    return {
        "label": label or folder.name,
        "folder": str(folder),
        "state": state,
        "stage": log.last if state in ("running", "unfinished") else "",
        "problems": problems,
        "start": _plain(start),
        "outcome": _plain(outcome),
        "policy": _plain(policy),
        "line": line,
        "front": _front(folder),
        "trials": columns(shown, variables),
        "counted": len(log.trials),
        "shown": len(shown),
        "states": _counts(log.trials),
        "stages": [[name, round(seconds, 2)] for name, seconds in log.stages.items()],
        "sessions": log.sessions,
    }


def columns(trials: Sequence[LoggedTrial], sizes: Sequence[int]) -> dict[str, Any]:
    """Trials as one list a property; choices that the space does not have are left out.

    Args:
        trials: In their order.
        sizes: Options per variable of the space.
    """

    def chosen(trial: LoggedTrial) -> list[int] | None:
        fits = len(trial.chosen) == len(sizes) and all(
            index < size for index, size in zip(trial.chosen, sizes, strict=True)
        )
        return list(trial.chosen) if fits and trial.chosen else None

    names = ("score", "latency", "macs", "bytes", "seconds")
    return {
        "number": [each.number for each in trials],
        "study": [each.study for each in trials],
        "at": [round(each.at, 2) for each in trials],
        "state": [each.state for each in trials],
        **{name: [each.numbers.get(name) for each in trials] for name in names},
        "chosen": [chosen(each) for each in trials],
        "reason": {place: each.reason for place, each in enumerate(trials) if each.reason},
    }


def _read(path: Path, read: Callable[[Path], T], problems: list[str]) -> T | None:
    """What a file holds; None where it is missing, or damaged, which is noted."""
    if not path.exists():
        return None
    try:
        return read(path)
    except (AutomlError, OSError) as error:
        problems.append(str(error))
        return None


def _state(folder: Path, outcome: KeptOutcome | None, *, staged: bool) -> str:
    try:
        running = is_locked(folder)
    except OSError:  # a folder that cannot be written to: nobody searches there
        running = False
    if running:
        return "running"
    if outcome is None and not staged:
        return "unfinished"
    return "interrupted" if outcome is not None and outcome.interrupted else "finished"


def _front(folder: Path) -> list[dict[str, Any]]:
    """Score and predicted cost of the policies of a run's front, where they can be read."""
    found = []
    for path in sorted((folder / "front").glob("*.json"))[:1000]:
        try:
            document = read_json(path, StudyError)
        except StudyError:
            continue
        if isinstance(document, dict):
            found.append({"score": document.get("score"), "predicted": document.get("predicted")})
    return found


def _counts(trials: Sequence[LoggedTrial]) -> dict[str, int]:
    states = [trial.state for trial in trials]
    return {state: states.count(state) for state in dict.fromkeys(states)}


def _plain(found: KeptStart | KeptOutcome | PolicyFile | None) -> Any:
    return None if found is None else found.model_dump(mode="json")
