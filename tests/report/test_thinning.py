"""Of very many trials those stay that decide."""

from __future__ import annotations

import random
from pathlib import Path

from made_runs import trial_line, write_lines

from automl.report.thinning import front, improvements, thinned
from automl.report.trial_log import LoggedTrial, read_log


def trials(folder: Path, count: int) -> list[LoggedTrial]:
    generator = random.Random(1)
    write_lines(folder / "log.jsonl", [trial_line(each, generator) for each in range(count)])
    return read_log(folder / "log.jsonl").trials


def test_few_stay_as_they_are(tmp_path: Path) -> None:
    found = trials(tmp_path, 20)
    assert thinned(found, 20) == found


def test_what_decides_stays(tmp_path: Path) -> None:
    found = trials(tmp_path, 2000)
    some = thinned(found, 50)
    numbers = {each.number for each in some}
    assert 50 <= len(some) < 120
    assert {found[each].number for each in (*front(found), *improvements(found))} <= numbers
    assert [each.number for each in some] == sorted(numbers)


def test_the_front_is_what_no_other_beats(tmp_path: Path) -> None:
    found = trials(tmp_path, 200)
    best = [found[each].numbers for each in front(found)]
    for one in best:
        assert not any(
            other.numbers["latency"] < one["latency"] and other.numbers["score"] > one["score"]
            for other in found
        )
    assert max(each.numbers["score"] for each in found) == best[-1]["score"]
