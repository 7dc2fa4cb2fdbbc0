"""A sweep's results as plain values for a page, with what each agent's policies chose."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from automl.documents import read_json
from automl.errors import AutomlError, StudyError
from automl.policy import PolicyFile, read_policy

RESULTS: Final = "results.json"
#: Bytes of results that are read: some ten thousand searches.
_BYTES: Final = 1 << 24
#: Parts of a policy that a page shows beside those of other agents.
_PARTS: Final = 400
#: What a page shows of a search.
_COLUMNS: Final = (
    *("case", "model", "data", "target", "budget", "agent", "seed", "state", "score"),
    *("dense_score", "predicted_seconds", "predicted_cycles", "at_least", "measured_seconds"),
    *("macs", "bytes", "trials", "seconds", "cpu_seconds", "reason", "on_front"),
)


def is_sweep(folder: Path) -> bool:
    """Whether a folder is a sweep's."""
    return (folder / RESULTS).is_file()


def read_sweep(folder: Path, label: str = "") -> dict[str, Any]:
    """All that a page shows of a sweep, as JSON values.

    Args:
        folder: Of the sweep.
        label: What to call it; "" for the folder's name.

    Raises:
        StudyError: Its results cannot be read.
    """
    path = folder / RESULTS
    found = read_json(path, StudyError, most=_BYTES)
    rows = found.get("rows") if isinstance(found, dict) else None
    if not isinstance(rows, list):
        raise StudyError(f"{path} holds no rows of a sweep")
    problems = list[str]()
    known = [row for row in rows if isinstance(row, dict) and isinstance(row.get("case"), str)]
    if len(known) < len(rows):
        problems.append(f"{len(rows) - len(known)} rows of {path} are damaged and left out")
    return {
        "label": label or str(found.get("name") or folder.name),
        "folder": str(folder),
        "interrupted": found.get("interrupted") is True,
        "problems": problems,
        "rows": [
            {name: row.get(name) for name in _COLUMNS} | _told(folder, row, problems)
            for row in known
        ],
    }


def _told(folder: Path, row: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    """What a search's policy chose, in shares, and how its latency came about; where it has one."""
    path = folder / row["case"] / "policy.json"
    unknown: dict[str, Any] = {"chosen": None, "parts": {}, "source": "predicted"}
    if Path(row["case"]).name != row["case"] or not path.is_file():
        return unknown
    try:
        policy = read_policy(path)
    except AutomlError as error:
        problems.append(str(error))
        return unknown
    source = "fitted" if policy.predicted.fitted > 0.5 else "predicted"
    simulated = policy.predicted.latency_cycles is not None
    found = {"chosen": summary(policy), "parts": parts(policy)}
    return found | {"source": "simulated" if simulated else source}


def parts(policy: PolicyFile) -> dict[str, str]:
    """What a policy chose of each part, in words, by choice and part; of very many the first."""
    found = {f"channels of {name}": str(each.kept) for name, each in policy.channels.items()}
    for name, bits in policy.bits.items():
        found[f"bits of {name}"] = f"{bits.weights}, {bits.activations}"
    found |= {f"block {name}": "left out" for name in policy.removed}
    for kind, options in policy.further.items():
        found |= {f"{kind} of {name}": option for name, option in options.items()}
    if policy.resolution:
        found["resolution"] = str(policy.resolution)
    return dict(list(found.items())[:_PARTS])


def summary(policy: PolicyFile) -> dict[str, float]:
    """Of a policy: the share of channels kept, mean bits of weights, blocks out, resolution."""
    groups = policy.channels.values()
    found: dict[str, float] = {"blocks left out": len(policy.removed)}
    if dense := sum(each.dense for each in groups):
        found["channels kept"] = sum(each.kept for each in groups) / dense
    if bits := [each.weights for each in policy.bits.values()]:
        found["mean bits of weights"] = sum(bits) / len(bits)
    if policy.resolution:
        found["resolution"] = policy.resolution
    return found
