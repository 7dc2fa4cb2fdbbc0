"""Run folders as a search leaves them, made without one."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

VARIABLES = [
    {"kind": "block", "name": "b1", "options": ["left out", "stays"]},
    *({"kind": "channels", "name": f"l{i}", "options": ["4", "8", "16"]} for i in range(3)),
]


def metrics(score: float, seconds: float, macs: float) -> dict[str, Any]:
    """What outcome.json says of one model."""
    return {
        "score": score,
        "score_error": 0.01,
        "change_error": 0.003,
        "predicted_seconds": seconds,
        "error": 0.1,
        "measured_seconds": 1.05 * seconds,
        "measured_spread": 0.01,
        "macs": macs,
        "bytes": 2000.0,
    }


def start(**changed: Any) -> dict[str, Any]:
    """A run.json."""
    return {
        "schema_version": 1,
        "automl": "0.1.0",
        "command": "automl search --target board --budget 50%",
        "began": "2026-11-27T03:00:00+00:00",
        "versions": {"automl": "0.1.0", "torch": "2.13.0"},
        "options": {"target": "board", "budget": ["50%"]},
        "model": {"name": "mine:net", "fingerprint": "f" * 16, "input_shape": [1, 3, 8, 8]},
        "data": {"name": "mine:data", "calibration": 8, "validation": 6, "test": 4},
        "target": {"name": "board", "description": "a board (measured operators)"},
        "score": {"name": "top-1 accuracy", "ranked_by": "top-1 accuracy"},
        "budget": ["50%"],
        "budget_held": "5 ms",
        "limits": {"latency": 0.0053},
        "agent": "random",
        "seed": 0,
        "left_alone": [{"name": "head", "reason": "its channels are the output"}],
        "variables": VARIABLES,
        "sensitivity": {"images": 16, "single": [[0.5, 0.0], *([[0.3, 0.1, 0.0]] * 3)]},
        **changed,
    }


def outcome() -> dict[str, Any]:
    """An outcome.json."""
    layer = {"op": "conv2d", "block": "", "macs": [100, 50], "bits": [8, 8]}
    return {
        "dense": metrics(0.93, 0.01, 1000.0),
        "compressed": metrics(0.92, 0.005, 500.0),
        "scored_on": "4 test inputs",
        "images": 4,
        "finished": "2026-11-27T03:10:00+00:00",
        "notes": ["a note"],
        "stages": [{"name": "searching", "seconds": 3.0, "peak_bytes": 1000}],
        "layers": [{**layer, "name": f"l{i}", "channels": [16, 8]} for i in range(3)],
        "times": {
            side: {f"l{i}": [each, "measured"] for i in range(3)}
            for side, each in (("dense", 0.003), ("compressed", 0.0015))
        },
    }


def policy(**changed: Any) -> dict[str, Any]:
    """A policy.json."""
    cost = {"latency_seconds": 0.005, "latency_error": 0.1, "macs": 500.0, "bytes": 2000.0}
    shares = {"measured": 0.5, "interpolated": 0.25, "fitted": 0.25}
    return {
        "schema_version": 2,
        "automl": "0.1.0",
        "model": {"name": "mine:net", "fingerprint": "f" * 16, "input_shape": [1, 3, 8, 8]},
        "target": {"name": "board", "description": "a board"},
        "budget": ["50%"],
        "channels": {"l0": {"dense": 16, "kept": 8}, "l1": {"dense": 16, "kept": 16}},
        "bits": {"l0": {"weights": 8, "activations": 8}},
        "removed": ["b1"],
        "made_with": None,
        "predicted": cost | shares,
        "dense": cost | shares | {"latency_seconds": 0.01},
        "score": 0.92,
        "scored_on": "4 test inputs",
        "agent": "random",
        "seed": 0,
        **changed,
    }


def trial_line(number: int, generator: random.Random, at: float = 0.0) -> dict[str, Any]:
    """A trial's line of a log."""
    latency = generator.uniform(0.002, 0.01)
    return {
        "at_seconds": at or float(number + 2),
        "trial": number,
        "state": "COMPLETE",
        "score": 0.9 + 3.0 * latency + generator.uniform(-0.02, 0.02),
        "seconds": 0.5,
        "reason": "",
        "latency": latency,
        "macs": 500.0,
        "bytes": 2000.0,
        "chosen": [generator.randrange(len(each["options"])) for each in VARIABLES],
    }


def write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    """A log."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def make_run(folder: Path, trials: int = 12, **changed: Any) -> Path:
    """A finished run's folder; `changed` are keys of its run.json."""
    folder.mkdir(parents=True)
    generator = random.Random(0)
    lines: list[dict[str, Any]] = [{"at_seconds": 0.0, "stage": "reading the network"}]
    lines += [{"at_seconds": 1.0, "stage": "searching"}]
    lines += [trial_line(number, generator) for number in range(trials)]
    lines += [{"at_seconds": float(trials + 3), "stage": "done"}]
    write_lines(folder / "log.jsonl", lines)
    for name, document in (
        ("run.json", start(**changed)),
        ("outcome.json", outcome()),
        ("policy.json", policy()),
    ):
        (folder / name).write_text(json.dumps(document), encoding="utf-8")
    return folder


def make_sweep(folder: Path) -> Path:
    """A sweep's folder: two agents on two targets at two budgets."""
    folder.mkdir(parents=True)
    rows = []
    for place, (target, budget, agent) in enumerate(
        (target, budget, agent)
        for target in ("board", "phone")
        for budget in ("60%", "40%")
        for agent in ("lagrangian", "random")
    ):
        case = f"case-{place}"
        (folder / case).mkdir()
        (folder / case / "policy.json").write_text(json.dumps(policy()), encoding="utf-8")
        rows.append(
            {
                **{"case": case, "model": "mine:net", "data": "mine:data", "target": target},
                **{"budget": [budget], "agent": agent, "seed": 0, "state": "COMPLETE"},
                **{"score": 0.9 - 0.01 * place, "predicted_seconds": 0.001 * (9 - place)},
                **{"macs": 500.0, "bytes": 2000.0, "trials": 12, "seconds": 3.0},
            }
        )
    document = {"name": "small", "rows": rows, "interrupted": False}
    (folder / "results.json").write_text(json.dumps(document), encoding="utf-8")
    return folder


def make_staged(folder: Path) -> Path:
    """The folder of a search in two stages that is done."""
    folder.mkdir(parents=True)
    for number in (1, 2):
        stage = make_run(folder / f"stage-{number}")
        lineage = {
            **{"stage": number, "stages": 2, "parent": str(number - 1) * 64},
            **{"recovered": "kd:4", "weights": "staged.pt", "weights_digest": str(number + 4) * 64},
        }
        document = json.dumps(policy() | {"lineage": lineage})
        (stage / "staged.json").write_text(document, encoding="utf-8")
    (folder / "policy.json").write_text(document, encoding="utf-8")
    return folder
