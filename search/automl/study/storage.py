"""Finished trials in an Optuna storage: SQLite by default, readable by optuna-dashboard.

A trial is written whole when it is finished, with one parameter per variable of the space, so that
a killed search loses none and its policies can be read back. A storage that is locked or away is
waited for, with the trial in hand.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import nan
from typing import Any, Final, TypeVar

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.storages import JournalStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState

from automl.cost import Cost
from automl.errors import Raised, StudyError, attempt
from automl.space import Space, Variable, parameter_name, parameter_values
from automl.study.address import journal_file, without_password
from automl.study.identity import Identity
from automl.study.journal import open_journal
from automl.study.lease import guard_study
from automl.study.optuna_logging import quiet_optuna
from automl.study.problem import Completed, Failed, Infeasible, State, Trial
from automl.study.schema import complete_schema
from automl.study.waiting import OPENING_SECONDS, engine_options, wait_for

T = TypeVar("T")

_IDENTITY: Final = "automl"
#: A trial over budget has no value; Optuna's word for a trial that was ended without one is PRUNED.
_STATES: Final[dict[State, TrialState]] = {
    "COMPLETE": TrialState.COMPLETE,
    "INFEASIBLE": TrialState.PRUNED,
    "FAILED": TrialState.FAIL,
}


@dataclass(frozen=True, slots=True)
class Stored:
    """A finished trial as it was stored, with the size of the batch that it was asked for in."""

    trial: Trial
    asked: int


class TrialStore:
    """The finished trials of one study. Use as a context manager, which closes the storage."""

    def __init__(self, url: str, name: str, space: Space) -> None:
        """Open or create a study.

        Args:
            url: "sqlite:///file", "journal:///file" or a database address.
            name: Name of the study in the storage.
            space: The choices, one parameter each.

        Raises:
            StudyError: The storage cannot be opened or is not one.
            LockedError: Another process holds the lease of the study.
            SpaceError: A kind of choice that is unknown.
        """
        self._url = without_password(url)
        self._space = space
        self._names = [parameter_name(variable) for variable in space.variables]
        self._values = [parameter_values(variable) for variable in space.variables]
        self._distributions = {
            name: _distribution(variable)
            for name, variable in zip(self._names, space.variables, strict=True)
        }
        self._storage = _open(url, name)
        self._study = self._try(
            lambda: optuna.create_study(
                storage=self._storage,
                study_name=name,
                direction="maximize",
                load_if_exists=True,
            )
        )
        self._count = 0

    def __enter__(self) -> TrialStore:
        return self

    def __exit__(self, *_: object) -> None:
        _close(self._storage)

    def claim(self, identity: Identity, resume: bool) -> list[Stored]:
        """Make the study this search's own, and give its finished trials.

        Args:
            identity: What this search is about.
            resume: Whether finished trials are welcome.

        Raises:
            StudyError: The study is about something else, naming what; or it holds trials and
                `resume` is off.
        """
        found: dict[str, Any] | None = self._try(lambda: self._study.user_attrs).get(_IDENTITY)
        trials = self._try(lambda: self._study.get_trials(deepcopy=False))
        if trials and not resume:
            raise StudyError(
                f"{self._url} holds {len(trials)} trials already: resuming goes on with them, "
                "another folder or storage starts anew",
                options=("resume", "out"),
            )
        if trials:
            differs = "was not written by automl" if found is None else identity.difference(found)
            if differs:
                raise StudyError(
                    f"the study in {self._url} {differs}; another folder or storage starts anew",
                    options=("out",),
                )
        self._try(lambda: self._study.set_user_attr(_IDENTITY, asdict(identity)))
        self._count = len(trials)
        return [self._stored(number, trial) for number, trial in enumerate(trials)]

    def add(self, trial: Trial, asked: int) -> None:
        """Store a finished trial, whole or not at all, and once.

        Raises:
            StudyError: The storage cannot be written, also not after a while, or another search
                has added trials.
            LockedError: Another process took the study over.
        """
        vector = self._space.encode(trial.policy).tolist()
        chosen = [values[index] for values, index in zip(self._values, vector, strict=True)]
        attributes = {
            "state": trial.state,
            "reason": trial.reason if isinstance(trial, Failed) else "",
            "seconds": trial.seconds,
            "images": trial.images if isinstance(trial, Completed) else None,
            "asked": asked,
            "cost": _plain(trial.cost),
        }
        frozen = optuna.trial.create_trial(
            state=_STATES[trial.state],
            value=trial.score if isinstance(trial, Completed) else None,
            params=dict(zip(self._names, chosen, strict=True)),
            distributions=self._distributions,
            user_attrs=attributes,
        )
        tries = itertools.count()
        self._try(lambda: self._add(frozen, again=next(tries) > 0))
        self._count += 1

    def _add(self, frozen: FrozenTrial, again: bool) -> None:
        """One try. Of one before, it is not known whether it was stored before it failed."""
        if again or isinstance(self._storage, JournalStorage):
            beyond = len(self._study.get_trials(deepcopy=False)) - self._count
            if again and beyond == 1:
                return
            if beyond:
                raise StudyError(f"another search has added trials to the study in {self._url}")
        self._study.add_trial(frozen)

    def _stored(self, number: int, frozen: FrozenTrial) -> Stored:
        found = attempt(lambda: self._read(number, frozen))
        if isinstance(found, Raised):
            text = f"trial {frozen.number} in {self._url} was not written by automl: {found}"
            raise StudyError(text) from found.error
        return found

    def _read(self, number: int, frozen: FrozenTrial) -> Stored:
        attributes = frozen.user_attrs
        if frozen.params.keys() != self._distributions.keys():
            raise ValueError("it has other choices")
        vector = self._space.dense.copy()
        for position, (name, values) in enumerate(zip(self._names, self._values, strict=True)):
            vector[position] = values.index(frozen.params[name])
        cost = _cost(attributes["cost"])
        plain = (number, self._space.decode(vector), cost, attributes["seconds"])
        trial: Trial = Infeasible(*plain)
        if attributes["state"] == Failed.state:
            trial = Failed(*plain, attributes["reason"])
        elif frozen.value is not None:
            trial = Completed(*plain, frozen.value, attributes["images"])
        return Stored(trial, attributes["asked"])

    def _try(self, call: Callable[[], T]) -> T:
        with quiet_optuna():
            return wait_for(call, self._url)


def delete_study(url: str, name: str) -> None:
    """Remove a study and its trials.

    Raises:
        StudyError: The storage cannot be changed, or has no such study.
        LockedError: Another process holds the lease of the study.
    """
    storage = _open(url, name)
    try:
        with quiet_optuna():
            wait_for(
                lambda: optuna.delete_study(study_name=name, storage=storage), without_password(url)
            )
    finally:
        _close(storage)


def _open(url: str, name: str) -> JournalStorage | RDBStorage:
    """The storage of an address. A study that another process holds is not written to."""
    shown, path = without_password(url), journal_file(url)
    with quiet_optuna():
        if path is not None:
            return wait_for(lambda: open_journal(path), shown, OPENING_SECONDS, opening=True)
        storage = wait_for(
            lambda: RDBStorage(url, {"pool_pre_ping": True, **engine_options(url)}),
            shown,
            OPENING_SECONDS,
            opening=True,
        )
        wait_for(lambda: complete_schema(storage.engine), shown)
        wait_for(lambda: guard_study(storage.engine, storage.scoped_session, name, shown), shown)
    return storage


def _close(storage: JournalStorage | RDBStorage) -> None:
    if isinstance(storage, RDBStorage):
        storage.remove_session()
        storage.engine.dispose()


def _distribution(variable: Variable) -> BaseDistribution:
    """Evenly spaced numbers as integers, all else as categories."""
    values = parameter_values(variable)
    numbers = [value for value in values if isinstance(value, int)]
    gaps = {after - before for before, after in itertools.pairwise(numbers)}
    if len(numbers) == len(values) and len(gaps) == 1 and min(gaps) > 0:
        return IntDistribution(numbers[0], numbers[-1], step=gaps.pop())
    return CategoricalDistribution(values)


def _plain(cost: Cost) -> dict[str, Any]:
    """A cost as JSON values; numbers that are not known are null."""
    values = asdict(cost)
    return {key: None if value != value else value for key, value in values.items()}


def _cost(values: dict[str, Any]) -> Cost:
    found: dict[str, Any] = {key: nan if value is None else value for key, value in values.items()}
    found["unpriced"] = tuple(found.get("unpriced", ()))
    return Cost(**found)
