"""What docs/trust.md says, measured: its tables are written from rows.

    make bench-trust                       # TRUST="--only kills faults" or "--table"
    python tests/benchmarks/bench_trust.py --minutes 20

Each part is a benchmark that goes on where it stopped and keeps its rows under build/; the tests of
faults are counted by pytest. A part that cannot be measured here (no emulator, no device data)
keeps what the page says. Prose of the page is kept: only what is between the marks is written.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "tests" / "benchmarks"
PAGE = ROOT / "docs" / "trust.md"
FAULTS = ROOT / "build" / "trust"
DATA = ROOT.parent / "shared" / "device_data"

#: Tests of what goes wrong, by what it is.
TESTS = {
    "a worker that lies, babbles, hangs or dies": "tests/profiling/test_misbehaviour.py",
    "a board that does, by the command": "tests/cli/test_lying_boards.py",
    "a killed process's half-made database": "tests/study/test_schema.py",
    "several writers of one table": "tests/latency/test_store.py",
    "two searches in one folder, or of one study": "tests/pipeline/test_ownership.py",
    "a storage that is locked, away or full": "tests/study/test_waiting.py",
    "the user's code ends, hangs or interrupts": "tests/study/test_workers.py",
    "signals": "tests/test_interrupts.py",
    "files that are half, or left": "tests/test_files.py",
    "no home, others' folders, no rights, full disks": "tests/test_places.py",
    "drivers and nodes of a cluster that are killed": "tests/sweep/test_losses.py",
    "readers given changed files": "tests/test_fuzz.py",
}


def _benchmark(name: str, *words: str) -> str:
    """What a benchmark prints on stdout, which is its table in Markdown."""
    command = [sys.executable, str(BENCHMARKS / f"bench_{name}.py"), *words]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in (0, 1):  # 1: something is wrong, which the table says
        raise SystemExit(f"bench_{name}.py ended with status {done.returncode}")
    return done.stdout.strip()


def kills(minutes: float, *, measure: bool) -> str:
    """Commands that were killed."""
    words = ("--minutes", f"{minutes:g}") if measure else ("--table",)
    return _benchmark("kills", *words)


def fuzz(minutes: float, *, measure: bool) -> str:
    """Readers that were given changed files."""
    return _benchmark("fuzz", "--minutes", f"{minutes if measure else 0:g}")


def faults(minutes: float, *, measure: bool) -> str:
    """Tests by what goes wrong in them; those that were not run yet are left out."""
    FAULTS.mkdir(parents=True, exist_ok=True)
    lines = ["| what goes wrong | tests | held | skipped here | failed | in |", "|---" * 6 + "|"]
    for what, file in TESTS.items():
        counted = FAULTS / f"{Path(file).stem}.xml"
        if measure:
            command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={counted}", file]
            subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=False)
        if counted.exists():
            found = ElementTree.parse(counted).getroot().iter("testcase")
            ends = [{each.tag for each in case} for case in found]
            skipped = sum("skipped" in tags for tags in ends)
            failed = sum(bool(tags & {"failure", "error"}) for tags in ends)
            held = len(ends) - skipped - failed
            lines.append(f"| {what} | {len(ends)} | {held} | {skipped} | {failed} | `{file}` |")
    return "\n".join(lines)


def arithmetic(minutes: float, *, measure: bool) -> str:
    """Files of integers beside what was simulated."""
    return _benchmark("arithmetic", *(() if measure else ("--table",)))


def clock(minutes: float, *, measure: bool) -> str:
    """Budgets beside the clock: a search each, so that this part takes longest."""
    return _benchmark("clock", *(() if measure else ("--table",)))


#: Parts of the page by the name of their marks.
PARTS: dict[str, Callable[..., str]] = {
    "faults": faults,
    "kills": kills,
    "fuzz": fuzz,
    "arithmetic": arithmetic,
    "clock": clock,
}


def rows(text: str) -> Iterator[str]:
    """Rows of the tables of a text, but for titles."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    yield from (line for line in lines[2:] if "---" not in line)


def written(page: str, name: str, content: str, day: str) -> str:
    """The page with what is between a part's marks replaced.

    Raises:
        SystemExit: It has no such marks.
    """
    marks = re.compile(rf"(<!-- {name}: [^>]*-->\n).*?(<!-- /{name} -->)", re.DOTALL)
    if not marks.search(page):
        raise SystemExit(f"{PAGE} has no marks of {name}")
    shown = f"\n{content}\n\nWritten by `make bench-trust` on {day}.\n\n"
    return marks.sub(lambda found: found[1] + shown + found[2], page)


def main() -> None:
    """Measure the parts that are asked for, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=[*PARTS, "devices"], default=None)
    parser.add_argument("--minutes", type=float, default=60.0, help="of kills and of fuzzing each")
    parser.add_argument("--table", action="store_true", help="of the rows that are there")
    options = parser.parse_args()
    asked = options.only or [*PARTS, "devices"]
    for name, part in PARTS.items():
        if name not in asked:
            continue
        print(f"== {name}", file=sys.stderr, flush=True)
        content = part(options.minutes, measure=not options.table)
        if not any(rows(content)):
            print(f"{name}: nothing was measured; the page is left as it is", file=sys.stderr)
            continue
        page = written(PAGE.read_text(encoding="utf-8"), name, content, f"{date.today()}")
        PAGE.write_text(page, encoding="utf-8")
    if "devices" in asked and not options.table:
        if DATA.is_dir():
            recipe = str(ROOT / "search" / "recipes" / "build_tables.py")
            subprocess.run([sys.executable, recipe, "--data", str(DATA)], cwd=ROOT, check=True)
        else:
            print(f"devices: there is no {DATA}", file=sys.stderr)


if __name__ == "__main__":
    main()
