"""Commands killed at random moments: what they said to be finished is there, and nothing half.

    python tests/benchmarks/bench_kills.py                    # to 1,000 kills in all
    python tests/benchmarks/bench_kills.py --minutes 10       # of wall time, and goes on later
    python tests/benchmarks/bench_kills.py --table            # of the rows that are there

A tiny network by a table of a made-up board, exported by the quicker exporter: search (in SQLite,
in a journal, with integers), profile on this machine, apply, sweep (to a folder, to an address). Of
the kills some 80 % are SIGKILL, the rest SIGTERM and SIGINT; they come at any moment, just after a
file has changed, or just after the command has told how far it is. After each the folder is read,
and the same command is started again, to be killed again or to come to its end. At the end the
result is held against that of a run that nobody killed, and no temporary file may be left.

Rows are appended to build/kills/rows.jsonl, one a kill; kills that are there are not done again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / each) for each in ("search", "tests/pipeline", "tests/benchmarks")]

import torch  # noqa: E402
from kill_scenes import Kept, Scene, halves, left, policy_words, scenes  # noqa: E402
from killing import PRINTED, End, Moment, draw, reports, run_killed  # noqa: E402

from automl.errors import AutomlError  # noqa: E402

#: Of the kills after which the command is let come to its end.
ENDS = 0.3
#: What a command may end with that somebody ended: it had come to its end, it says that it was
#: interrupted, or it could not hear yet.
STATUSES = {
    signal.SIGKILL: {0, -9},
    signal.SIGTERM: {0, 130, -15},
    signal.SIGINT: {0, 130},
}


@dataclass(frozen=True, slots=True)
class Row:
    """One kill.

    Attributes:
        number, seed: They decide what is killed and when.
        scene: What was killed.
        signal: By what.
        reports, changes: Of the command and of files, that were waited for.
        seconds: After so many in all.
        status: What it ended with.
        said: Trials, rows and searches that it, and those before it in its folder, said to be
            finished.
        lost: Those that are not there any more, or are others.
        half: Files that cannot be read whole.
        ended: Whether the same command was let come to its end then.
        wrong: All else that is not as promised.
    """

    number: int
    seed: int
    scene: str
    signal: str
    reports: int
    changes: int
    seconds: float
    status: int
    said: int
    lost: list[str]
    half: list[str]
    ended: bool
    wrong: list[str]


class Folder:
    """A folder in which one command is killed again and again, until it comes to its end."""

    def __init__(self, scene: Scene, path: Path) -> None:
        self.scene, self.path = scene, path
        self._kept: Kept = {}
        self._said: set[str] = set()
        path.mkdir(parents=True)

    def run(self, moment: Moment | None) -> tuple[End, list[str]]:
        """Run the command; gives what is wrong with how it ended."""
        words = [word.replace("{folder}", str(self.path)) for word in self.scene.words]
        end = run_killed(words, self.path, moment)
        wrong = [f"it left {name}" for name in end.orphans]
        if end.hung:
            wrong.append("it hung")
        elif end.status not in (STATUSES[moment.signal] if end.killed and moment else {0}):
            wrong.append(f"status {end.status}")
        return end, [f"{each}: {self._printed()}" for each in wrong]

    def check(self) -> tuple[int, list[str], list[str]]:
        """How much was said to be finished so far, what of it is lost, and files that are half."""
        try:
            now = self.scene.kept(self.path)
        except (AutomlError, ValueError, sqlite3.Error) as error:
            return len(self._said), sorted(self._said), [str(error)]
        before, said = self._kept, self.scene.said(self.path)
        lost = [f"{name} is gone" for name in before.keys() - now.keys()]
        lost += [
            f"{name} is another"
            for name in before.keys() & now.keys()
            if before[name] not in (now[name], None)
        ]
        if isinstance(said, int):
            missing = said - len(now.keys() - before.keys())
            lost += [f"{missing} of {said}"] if missing > 0 else []
            said = set(now)
        lost += [f"{name} is not there" for name in said - now.keys()]
        self._kept, self._said = before | now, self._said | said
        return len(self._said), lost, halves(self.path)

    def end(self) -> list[str]:
        """Let the command come to its end; gives what is wrong with what it leaves."""
        _, wrong = self.run(None)
        _, lost, half = self.check()
        return [*wrong, *lost, *half, *(f"{name} is left" for name in left(self.path))]

    def _printed(self) -> str:
        lines = (self.path / PRINTED).read_text().strip().splitlines()
        return lines[-1] if lines else "it printed nothing"


class Bench:
    """Kills, one after another, in a folder.

    Args:
        out: The folder.
        seed: Of what is killed and when.
    """

    def __init__(self, out: Path, seed: int) -> None:
        self._runs, self._seed, inputs = out / "runs", seed, out / "inputs"
        shutil.rmtree(self._runs, ignore_errors=True)
        shutil.rmtree(inputs, ignore_errors=True)
        inputs.mkdir(parents=True)
        self._scenes = scenes(inputs)
        self._whole: dict[str, tuple[float, int, object]] = {}
        self._folders: dict[str, Folder] = {}
        torch.set_num_threads(1)
        torch.onnx.export = partial(_recorded, torch.onnx.export)
        _run_here(policy_words(inputs), inputs)  # imports all that the forked commands use

    def kill(self, number: int) -> Row | None:
        """One kill; None where the command came to its end before."""
        random = Random(f"{self._seed} {number}")
        scene = self._scenes[random.choice([*self._scenes])]
        seconds, count, final = self._unharmed(scene)
        folder = self._folders.get(scene.name)
        if folder is None:
            folder = Folder(scene, self._runs / f"{number}-{_slug(scene)}")
            self._folders[scene.name] = folder
        moment = draw(random, seconds, count)
        end, wrong = folder.run(moment)
        said, lost, half = folder.check()
        ended = not end.killed or random.random() < ENDS
        if ended:
            wrong += folder.end()
            if not wrong and scene.final(folder.path) != final:
                wrong.append("the result is not that of a run that nobody killed")
            del self._folders[scene.name]
        if ended and not (wrong or lost or half):
            shutil.rmtree(folder.path)
        if not end.killed and not wrong:
            return None
        name, rounded = moment.signal.name if end.killed else "none", round(end.seconds, 3)
        return Row(
            *(number, self._seed, scene.name, name, moment.reports, moment.changes, rounded),
            *(end.status, said, lost, half, ended, wrong),
        )

    def _unharmed(self, scene: Scene) -> tuple[float, int, object]:
        """What the command takes when nobody kills it: seconds, reports; and what it leaves."""
        if scene.name not in self._whole:
            folder = Folder(scene, self._runs / f"whole-{_slug(scene)}")
            end, wrong = folder.run(None)
            wrong += left(folder.path)
            if wrong:
                raise SystemExit(f"{scene.name}, which nobody killed: {'; '.join(wrong)}")
            known = end.seconds, reports(folder.path), scene.final(folder.path)
            self._whole[scene.name] = known
        return self._whole[scene.name]


def _recorded(export: Callable[..., object], *arguments: object, **options: object) -> object:
    """The exporter that records a run, also where the other is asked for, which takes a second."""
    return export(*arguments, **options | {"dynamo": False})


def _slug(scene: Scene) -> str:
    return scene.name.replace(",", "").replace(" ", "-")


def _run_here(words: list[str], folder: Path) -> None:
    from automl.cli.main import run

    place, typed = Path.cwd(), sys.argv
    os.chdir(folder)
    sys.argv = ["automl", *words]
    try:
        with contextlib.redirect_stdout(sys.stderr):
            run()
    except SystemExit as end:
        if end.code:
            raise
    finally:
        os.chdir(place)
        sys.argv = typed


def read_rows(out: Path) -> list[Row]:
    """Those that are there."""
    path = out / "rows.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [Row(**json.loads(line)) for line in lines]


def table(rows: list[Row]) -> str:
    """Markdown: one line a command."""
    lines = [
        "| killed | kills | of them SIGKILL | said to be finished | lost | half-written files |"
        " came to their ends | otherwise wrong |",
        "|---" * 8 + "|",
    ]
    names = [*dict.fromkeys(row.scene for row in rows)]
    for name in (*names, "all"):
        of = [row for row in rows if name in (row.scene, "all")]
        counted = (
            len(of),
            sum(row.signal == "SIGKILL" for row in of),
            sum(row.said for row in of),
            sum(len(row.lost) for row in of),
            sum(len(row.half) for row in of),
            sum(row.ended for row in of),
            sum(bool(row.wrong) for row in of),
        )
        lines.append(f"| {name} | {' | '.join(f'{each:,}' for each in counted)} |")
    return "\n".join(lines)


def main() -> int:
    """Kill until there are as many rows as asked for; 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=1000, help="rows that there are to be")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="at most, of wall time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "kills")
    parser.add_argument("--table", action="store_true", help="of the rows that are there")
    options = parser.parse_args()
    out, start = options.out.resolve(), time.monotonic()
    rows = read_rows(out)
    if not options.table and len(rows) < options.kills:
        bench, number = Bench(out, options.seed), 1 + max((row.number for row in rows), default=-1)
        while len(rows) < options.kills and time.monotonic() - start < 60 * options.minutes:
            row = bench.kill(number)
            number += 1
            if row is None:
                continue
            rows.append(row)
            with (out / "rows.jsonl").open("a") as file:
                file.write(json.dumps(asdict(row)) + "\n")
            if row.lost or row.half or row.wrong:
                print(row, file=sys.stderr, flush=True)
    print(table(rows))
    return int(any(row.lost or row.half or row.wrong for row in rows))


if __name__ == "__main__":
    sys.exit(main())
