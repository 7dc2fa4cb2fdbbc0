"""Progress in notebooks, and none where there is no notebook."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from automl.pipeline import notebook
from automl.pipeline.notebook import notebook_bars, shown_in_notebooks
from automl.pipeline.points import TrialPoint
from automl.pipeline.requests import Event, ignore


class Kept:
    """A bar that keeps what it was told."""

    made: ClassVar[list[Kept]] = []

    def __init__(self, **told: Any) -> None:
        self.told, self.n, self.total, self.closed, self.postfix = told, 0, None, False, {}
        Kept.made.append(self)

    def set_postfix(self, refresh: bool, **shown: str) -> None:
        self.postfix = shown

    def refresh(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def test_a_notebook_sees_a_bar_a_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebook, "_bar_class", lambda: Kept)
    Kept.made = []
    with notebook_bars() as listen:
        listen(Event("calibrating", 0, 3))
        listen(Event("calibrating", 3, 3))
        point = TrialPoint(0, "COMPLETE", 0.5, None, 1.0, 1.0, 0.1)
        listen(Event("searching", 1, 4, 0.5, trial=point))
    calibrating, searching = Kept.made
    assert (calibrating.n, calibrating.total, calibrating.told["leave"]) == (3, 3, False)
    assert (searching.n, searching.told["leave"], searching.postfix) == (1, True, {"best": "0.5"})
    assert calibrating.closed
    assert searching.closed


def test_elsewhere_and_where_somebody_listens_there_is_none() -> None:
    heard: list[Any] = []

    @shown_in_notebooks
    def work(*, on_event: Any = ignore) -> None:
        heard.append(on_event)

    work()
    work(on_event=print)
    assert heard == [ignore, print]
