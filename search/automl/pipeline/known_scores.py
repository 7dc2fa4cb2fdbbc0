"""What candidates scored in the studies of a search that its last study follows.

What a policy scores depends on neither the budget nor the prices, so a study whose budget the clock
corrected, or whose prices were measured meanwhile, need not find out again how choices of several
kinds add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    FiniteFloat,
    NonNegativeInt,
    TypeAdapter,
    ValidationError,
)

from automl.documents import fault_of, read_json
from automl.errors import StudyError
from automl.files import write_whole
from automl.pipeline.requests import SearchRequest
from automl.space import Space
from automl.study import Completed, Known, Trial

_ANEW: Final = "another folder starts anew"
#: In the run folder, before a search's second study.
FILE: Final = "known.json"
_MOST_BYTES: Final = 16 << 20


class _Row(BaseModel):
    """A policy as its options' places in the space, and its score."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    options: tuple[NonNegativeInt, ...]
    score: FiniteFloat
    images: NonNegativeInt | None


_ROWS: Final = TypeAdapter(tuple[_Row, ...])


class KnownScores:
    """The scores of a search's earlier studies, kept in its folder so that it can be resumed.

    Args:
        request: Who searches; where it resumes, its folder says what is known.
        space: The choices.

    Raises:
        StudyError: The folder's file was not written by such a search.
    """

    def __init__(self, request: SearchRequest, space: Space) -> None:
        self._path, self._space = request.out / FILE, space
        self.scores: tuple[Known, ...] = ()
        if request.resume and self._path.exists():
            self.scores = _read(self._path, space)
        else:
            self._path.unlink(missing_ok=True)

    def keep(self, trials: Sequence[Trial]) -> None:
        """Add what a study scored, and write it: after the study is deleted, before the next."""
        scored = (trial for trial in trials if isinstance(trial, Completed))
        found = {each.policy: each for each in self.scores}
        found |= {each.policy: Known(each.policy, each.score, each.images) for each in scored}
        self.scores = tuple(found.values())
        encode = self._space.encode
        rows = tuple(
            _Row(options=encode(each.policy).tolist(), score=each.score, images=each.images)
            for each in self.scores
        )
        write_whole(self._path, _ROWS.dump_json(rows).decode() + "\n")


def _read(path: Path, space: Space) -> tuple[Known, ...]:
    document = read_json(path, StudyError, most=_MOST_BYTES)
    try:
        rows = _ROWS.validate_python(document)
    except ValidationError as problem:
        raise StudyError(f"{path}: {fault_of(problem)}; {_ANEW}") from None
    for row in rows:
        places = np.array(row.options)
        if places.shape != space.dense.shape or (places > space.dense).any():
            raise StudyError(f"{path} has scores of other choices than the network's; {_ANEW}")
    return tuple(Known(space.decode(np.array(row.options)), row.score, row.images) for row in rows)
