"""A search in stages as a line: what each left of the dense network, and what it began with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from automl.errors import AutomlError
from automl.policy import read_policy

_NAME: Final = re.compile(r"stage-(\d+)")
#: In a stage's folder, when it is done: its policy, relative to the dense network.
STAGED: Final = "staged.json"


def stage_folders(folder: Path) -> list[Path]:
    """Folders of a run's stages, in their order; none where it is no search in stages."""
    try:
        found = {path: _NAME.fullmatch(path.name) for path in folder.iterdir() if path.is_dir()}
    except OSError:
        return []
    numbers = {path: int(match[1]) for path, match in found.items() if match}
    return sorted(numbers, key=numbers.__getitem__)


def line_of(folder: Path, problems: list[str]) -> list[dict[str, Any]]:
    """Stages of a run that are done, as JSON values; what cannot be read is noted.

    Args:
        folder: Of the run.
        problems: Is added to.
    """
    line = []
    for path in (stage / STAGED for stage in stage_folders(folder)):
        if not path.is_file():
            continue
        try:
            file = read_policy(path)
        except (AutomlError, OSError) as error:
            problems.append(str(error))
            continue
        if file.lineage is None:
            problems.append(f"{path} says nothing of the stage before it")
            continue
        line.append(
            {
                "name": path.parent.name,
                "dense": file.dense.model_dump(mode="json"),
                "cost": file.predicted.model_dump(mode="json"),
                "score": file.score,
                "scored_on": file.scored_on,
                "budget": list(file.budget),
                **file.lineage.model_dump(mode="json"),
            }
        )
    return line
