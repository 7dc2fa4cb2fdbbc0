"""What a study is of. Its stored scores hold for nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

#: Fields whose values are hashes, with what makes them differ.
_DIGESTS: Final = {
    "weights": "the model was trained further or has random weights",
    "data": "a loader that shuffles or augments without a seed yields other data each time",
    "space": "the choices differ",
    "prices": "the table is another, or was measured further",
}


@dataclass(frozen=True, slots=True)
class Identity:
    """What a study is of. One is resumed only by a search with the same.

    Attributes:
        agent, seed: Who proposes; the seed is that of reading the data, too.
        weights: Digest of the dense model's state dict.
        data: Digest of the calibration inputs, and of the validation inputs and targets.
        space: Digest of the choices.
        prices: Digest of the prices of all choices: it changes when the table does.
        budget: The limits, absolute.
        score: What candidates are ranked by, and whether some are given up early.
        compression: By what candidates' weights are made.
        options: What the agent was told, beside its seed.
        version: Of this record.
    """

    agent: str
    seed: int
    weights: str
    data: str
    space: str
    prices: str
    budget: str
    score: str = ""
    compression: str = ""
    options: str = ""
    version: int = 3

    def difference(self, found: Mapping[str, Any]) -> str:
        """How a stored record differs, as the end of "the study ..."; "" where it does not."""
        if found.get("version") != self.version:
            return (
                f"was stored by another version of automl (record {found.get('version', 1)}, this "
                f"version's is {self.version}), which did not note the same of what it is of"
            )
        for key, wanted in asdict(self).items():
            stored = found.get(key)
            if stored == wanted:
                continue
            if key in _DIGESTS:
                digests = f"digest {str(stored)[:12]}, here {str(wanted)[:12]}"
                return f"is of other {key} ({digests}): {_DIGESTS[key]}"
            return f"has another {key}: {stored!r}, this search {wanted!r}"
        return ""
