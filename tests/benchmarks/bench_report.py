"""How long a report of many trials takes to write, and to open in Chromium.

    python tests/benchmarks/bench_report.py [TRIALS]

Opened means that texts, the answer's figure and the first other are drawn; the page says when, in
milliseconds since it was asked for (`data-opened`).
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))

from made_runs import make_run

from automl.report import write_report

QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--virtual-time-budget=20000", "--window-size=1100,1400", "--dump-dom"),
)


def main(trials: int = 10_000, times: int = 3) -> None:
    """Write one page and open it some times."""
    with tempfile.TemporaryDirectory() as place:
        run = make_run(Path(place) / "run", trials=trials)
        began = time.perf_counter()
        written = write_report([run])
        spent = time.perf_counter() - began
        print(f"{trials:,} trials: written in {spent:.2f} s, {written.bytes / 1e6:.1f} MB")
        opened = []
        for number in range(times):
            profile = f"--user-data-dir={place}/browser-{number}"
            command = ["chromium", *QUIET, profile, written.path.resolve().as_uri()]
            shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            found = re.search(r'data-opened="(\d+)"', shown)
            opened.append(int(found[1]) / 1e3 if found else float("nan"))
        print(f"opened in {statistics.median(opened):.2f} s (of {times}: {sorted(opened)})")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
