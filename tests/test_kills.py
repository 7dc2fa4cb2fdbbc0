"""Killed commands lose nothing: `make bench-trust` does a thousand of what is done here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KILLS = 6


def test_killed_commands_lose_nothing_and_go_on(tmp_path: Path) -> None:
    words = ("--kills", str(KILLS), "--out", str(tmp_path))
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "benchmarks" / "bench_kills.py"), *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert len(rows) == KILLS
    assert all(row["status"] in (-9, -15, 130, 0) for row in rows)
    assert sum(row["said"] for row in rows) > 0
    assert any(row["ended"] for row in rows)
