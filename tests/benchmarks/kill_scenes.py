"""The commands that are killed, what each has finished, and what must hold of its files."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import onnx
import torch
from killing import HOME, PRINTED, TEMPORARY, told
from tiny import write_table

from automl.errors import AutomlError
from automl.export.packed import read_packed
from automl.latency.table import LatencyTable
from automl.pipeline.sharing import read_prepared
from automl.policy.file import read_policy
from automl.sweep.results import row_from_json

TINY: Final = Path(__file__).resolve().parents[1] / "pipeline" / "tiny.py"
#: What every search over the tiny model is given.
_TASK: Final = ("--model", f"{TINY}:model", "--data", f"{TINY}:loaders")
_SCORE: Final = ("--score", f"{TINY}:agreement")
_SEARCH: Final = (*("--budget", "60%", "--round-to", "4", "--resolutions", "12,16"),)
#: Operators that the profile measures.
_OPERATORS: Final = [{"op": "linear", "in_channels": 8, "out_channels": n} for n in (8, 16, 24)]

#: What ONNX Runtime leaves among temporary files, one a machine.
_ORT: Final = ".ses"

#: What is finished, by a name: what stands there must never change.
Kept = dict[str, object]


@dataclass(frozen=True, slots=True)
class Scene:
    """A command that is killed.

    Attributes:
        name: Of the row in the table.
        words: Its command line, {folder} for its folder; run again it goes on.
        kept: What its folder holds that was finished.
        said: What it has said to be finished, of `kept` by name, or how many.
        final: What a run that came to its end leaves, whatever was killed before.
    """

    name: str
    words: tuple[str, ...]
    kept: Callable[[Path], Kept]
    said: Callable[[Path], set[str] | int]
    final: Callable[[Path], object]


def scenes(inputs: Path) -> dict[str, Scene]:
    """All commands by name; what they read is written into a folder.

    Args:
        inputs: The folder, which may hold it already.
    """
    board, whole = inputs / "board.jsonl", inputs / "integers.jsonl"
    for path, precisions in ((board, ("fp32",)), (whole, ("fp32", "int8"))):
        if not path.exists():
            write_table(path, *precisions)
    (inputs / "ops.json").write_text(json.dumps(_OPERATORS))
    (inputs / "recipe.toml").write_text(_recipe(board))
    policy = str(inputs / "policy" / "policy.json")
    search = ("search", *_TASK, *_SCORE, *_SEARCH, "--resume", "--out", "run")
    random = (*search, "--agent", "random", "--trials")
    apply = ("apply", policy, *_TASK, *_SCORE, "--out", "out/model.pt")
    made: Any = (_nothing, _none, _applied)
    found = [
        Scene("search", (*random, "12", "--target", str(board)), _trials, _logged, _searched),
        Scene(
            "search, journal",
            (*random, "6", "--target", str(board), "--storage", "journal:///study.journal"),
            *(_journaled, _logged, _searched),
        ),
        Scene("search, int8", (*random, "6", "--target", str(whole)), _trials, _logged, _searched),
        Scene(
            "profile",
            ("profile", "--target", "killed", "--ops", str(inputs / "ops.json")),
            *(_rows, _measured, _operators),
        ),
        Scene(
            "apply",
            (*apply, "--packed", "out/packed", "--huffman", "--export", "out/model.onnx"),
            *made,
        ),
        Scene(
            "sweep",
            ("sweep", str(inputs / "recipe.toml"), "--out", "run"),
            *(_records, _recorded, _swept),
        ),
        Scene(
            "sweep to an address",
            ("sweep", str(inputs / "recipe.toml"), "--out", "file://{folder}/run"),
            *(_finished, _told, _swept),
        ),
    ]
    return {scene.name: scene for scene in found}


def policy_words(inputs: Path) -> list[str]:
    """The search that makes the policy which `apply` is given, in the folder of inputs."""
    target = ("--target", str(inputs / "integers.jsonl"), "--agent", "uniform", "--out", "policy")
    return ["search", *_TASK, *_SCORE, *_SEARCH, *target]


def _recipe(board: Path) -> str:
    common = {
        "model": f"{TINY}:model",
        "data": f"{TINY}:loaders",
        "score": f"{TINY}:agreement",
        "round_to": 4,
        "resolutions": [12, 16],
        "trials": 5,
        "agent": "random",
        "target": str(board),
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in common.items()]
    return "\n".join(["[common]", *lines, "[grid]", 'budget = ["60%", "40%"]', ""])


def _trials(folder: Path) -> Kept:
    """The trials of a study, by number. A copy is read: ours must not mend what was left."""
    database = folder / "run" / "study.db"
    return _study(database) if database.exists() else {}


def _study(database: Path) -> Kept:
    with tempfile.TemporaryDirectory() as place:
        for path in database.parent.glob(f"{database.name}*"):
            shutil.copy(path, place)
        connection = sqlite3.connect(f"{place}/{database.name}")
        try:
            (state,) = connection.execute("pragma integrity_check").fetchone()
            if state != "ok":
                raise ValueError(f"{database}: {state}")
            names = {name for (name,) in connection.execute("select name from sqlite_master")}
            if not {"trials", "trial_values", "trial_params"} <= names:
                return {}
            rows = connection.execute(
                "select t.trial_id, t.number, t.state, v.value from trials t"
                " left join trial_values v on v.trial_id = t.trial_id"
            ).fetchall()
            parameters = "select param_name, param_value from trial_params where trial_id = ?"
            return {
                str(number): (state, value, sorted(connection.execute(parameters, (trial,))))
                for trial, number, state, value in rows
            }
        finally:
            connection.close()


def _journaled(folder: Path) -> Kept:
    """The trials of a journal: its lines of operation 4, of which each is one, whole."""
    path = folder / "study.journal"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    found = [line for line in map(json.loads, lines) if line["op_code"] == 4]
    return {
        str(number): {key: line[key] for key in ("state", "params", "value") if key in line}
        for number, line in enumerate(found)
    }


def _logged(folder: Path) -> set[str]:
    """Trials that the log tells of."""
    return {str(line["trial"]) for line in _lines(folder / "run" / "log.jsonl") if "trial" in line}


def _lines(path: Path) -> Iterator[Mapping[str, Any]]:
    """Lines of JSON, but one that was cut off: the program leaves such out too."""
    for line in path.read_text().split("\n") if path.exists() else ():
        try:
            yield json.loads(line)
        except ValueError:
            continue


def _searched(folder: Path) -> object:
    """The policy, and the weights that were made of it."""
    return (folder / "run" / "policy.json").read_text(), _weights(folder / "run" / "model.pt")


def _weights(path: Path) -> list[tuple[str, bytes]]:
    return [
        (name, tensor.numpy().tobytes())
        for name, tensor in torch.load(path, weights_only=True).items()
    ]


def _rows(folder: Path) -> Kept:
    """Rows of the table by operator. Those of a slow machine may be measured again."""
    path = folder / HOME / "tables" / "killed.jsonl"
    if not path.exists():
        return {}
    rows = LatencyTable.read(path, resume=True).rows
    return {str(row.key): None if row.slower else row.seconds for row in rows}


def _measured(folder: Path) -> int:
    """Rows that the last command said it measured: the anchor's is not among them."""
    return told(folder, "measuring")


def _operators(folder: Path) -> object:
    return sorted(_rows(folder))


def _nothing(folder: Path) -> Kept:
    return {}


def _none(folder: Path) -> set[str]:
    return set()


def _applied(folder: Path) -> object:
    return _weights(folder / "out" / "model.pt"), (folder / "out" / "packed").read_bytes()


def _finished(folder: Path) -> Kept:
    """Finished searches by name."""
    return {path.parent.name: path.read_text() for path in folder.glob("run/*/result.json")}


def _told(folder: Path) -> set[str]:
    """Searches that the command told of; their trials are kept every few seconds alone."""
    printed = (folder / PRINTED).read_text().splitlines()
    return {line.partition(": complete, ")[0] for line in printed if ": complete, " in line}


def _records(folder: Path) -> Kept:
    """Finished searches, and the trials of all, by name."""
    found = _finished(folder)
    for path in folder.glob("run/*/study.db"):
        for name, trial in _study(path).items():
            found[f"{path.parent.name} {name}"] = trial
    return found


def _recorded(folder: Path) -> set[str]:
    """Searches that the command told of, and trials in the logs of all."""
    found = _told(folder)
    for path in folder.glob("run/*/log.jsonl"):
        trials = [line["trial"] for line in _lines(path) if "trial" in line]
        found |= {f"{path.parent.name} {number}" for number in trials}
    return found


def _swept(folder: Path) -> object:
    rows = json.loads((folder / "run" / "results.json").read_text())["rows"]
    return [(row["case"], row["state"], row["score"], row["trials"]) for row in rows]


#: How a file is read whole, by the end of its name.
_READERS: Final[dict[str, Callable[[Path], object]]] = {
    "policy.json": read_policy,
    "result.json": lambda path: row_from_json(json.loads(path.read_text())["row"]),
    "model.pt": lambda path: torch.load(path, weights_only=True),
    "model.weights": read_packed,
    "packed": read_packed,
    ".onnx": lambda path: onnx.checker.check_model(onnx.load(path)),
    ".json": lambda path: json.loads(path.read_text()),
}


def halves(folder: Path) -> list[str]:
    """Files that cannot be read whole, and why; temporary ones may be half."""
    found = []
    for path in _files(folder):
        name = path.name
        if folder / TEMPORARY in path.parents:
            continue
        reader = next((read for end, read in _READERS.items() if name.endswith(end)), None)
        if path.parent.name == "front":
            reader = read_policy
        if name.startswith("prepared-"):
            reader = read_prepared
        if reader is None or name.startswith("."):
            continue
        try:
            reader(path)
        except (AutomlError, ValueError, RuntimeError, OSError, KeyError) as error:
            found.append(f"{path.relative_to(folder)}: {error}")
    return found


def left(folder: Path) -> list[str]:
    """Temporary files that a run has left: all but locks and records of who held them last."""
    hidden = [
        path
        for path in _files(folder)
        if any(part.startswith(".") for part in path.relative_to(folder).parts)
        and not path.name.endswith((".lock", ".holder"))
    ]
    places = [*(folder / TEMPORARY).iterdir()] if (folder / TEMPORARY).exists() else []
    found = {*hidden, *places} - {folder / TEMPORARY / _ORT}
    return sorted(str(path.relative_to(folder)) for path in found)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())
