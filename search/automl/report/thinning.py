"""Fewer trials than there were, so that a page of very many opens: what decides stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from automl.report.trial_log import LoggedTrial

#: Most trials of one run that a page holds.
MOST: Final = 20_000


def thinned(trials: Sequence[LoggedTrial], most: int = MOST) -> list[LoggedTrial]:
    """At most about so many trials, in their order.

    Those that were the best so far and those on the front of score and latency stay; of the others
    an even share does.

    Args:
        trials: In the order in which they finished.
        most: How many may stay of those that decide nothing.
    """
    if len(trials) <= most:
        return list(trials)
    kept = {*improvements(trials), *front(trials), len(trials) - 1}
    step = len(trials) / most
    kept |= {int(place * step) for place in range(most)}
    return [trials[each] for each in sorted(kept)]


def improvements(trials: Sequence[LoggedTrial]) -> list[int]:
    """Places of trials that scored more than all before."""
    found, best = list[int](), float("-inf")
    for place, trial in enumerate(trials):
        score = trial.numbers.get("score", best)
        if score > best:
            best = score
            found.append(place)
    return found


def front(trials: Sequence[LoggedTrial]) -> list[int]:
    """Places of trials that no other beats in score and latency, the fastest first."""
    known = [
        (trial.numbers["latency"], -trial.numbers["score"], place)
        for place, trial in enumerate(trials)
        if "latency" in trial.numbers and "score" in trial.numbers
    ]
    found, best = list[int](), float("inf")
    for _, loss, place in sorted(known):
        if loss < best:
            best = loss
            found.append(place)
    return found
