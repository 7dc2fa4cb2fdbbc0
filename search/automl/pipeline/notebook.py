"""Progress in notebooks: tqdm's bars where nobody else listens."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from automl.errors import printable
from automl.pipeline.requests import Event, OnEvent, ignore

F = TypeVar("F", bound=Callable[..., Any])


def shown_in_notebooks(function: F) -> F:
    """Have a function show its progress in a notebook, where no `on_event` is given."""

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        if "on_event" in named:
            return function(*arguments, **named)
        with notebook_bars() as listen:
            return function(*arguments, **named, on_event=listen)

    return call  # type: ignore[return-value]


@contextlib.contextmanager
def notebook_bars() -> Iterator[OnEvent]:
    """A listener that shows a bar a stage in a notebook; elsewhere one that shows nothing.

    A stage's bar goes when the next begins, the search's stays.
    """
    bar = _bar_class()
    if bar is None:
        yield ignore
        return
    bars = _Bars(bar)
    try:
        yield bars
    finally:
        bars.close()


class _Bars:
    def __init__(self, bar: Callable[..., Any]) -> None:
        self._make, self._stage, self._bar = bar, "", None

    def __call__(self, event: Event) -> None:
        if event.stage != self._stage or self._bar is None:
            self.close()
            stays = event.trial is not None
            self._stage = event.stage
            self._bar = self._make(desc=printable(event.stage), total=event.total, leave=stays)
        bar: Any = self._bar
        bar.total = event.total
        bar.n = event.done
        if event.best is not None:
            bar.set_postfix(best=f"{event.best:.4g}", refresh=False)
        bar.refresh()

    def close(self) -> None:
        """End the bar that is shown."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _bar_class() -> Callable[..., Any] | None:
    """tqdm's bar of notebooks; None where this is no notebook, or there is no tqdm."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if "IPKernelApp" not in getattr(shell, "config", {}):
        return None
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return None
    found: Callable[..., Any] = tqdm
    return found
