"""What a search keeps for its report (`automl.pipeline.record`), checked when it is read.

Keys that are not known are left out: a later version may have written more.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from automl.documents import fault_of, read_json
from automl.errors import StudyError

T = TypeVar("T", bound="_Kept")

#: Bytes of a file that is read: some ten thousand layers.
_BYTES: Final = 1 << 24


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class KeptModel(_Kept):
    """The model that was searched."""

    name: str = ""
    fingerprint: str = ""
    input_shape: tuple[int, ...] = ()


class KeptData(_Kept):
    """The data, in inputs of each part."""

    name: str = ""
    calibration: int | None = None
    validation: int | None = None
    test: int | None = None


class KeptTarget(_Kept):
    """The device, and the table that priced it."""

    name: str = ""
    description: str = ""
    table_digest: str = ""
    unit: str = "seconds"
    error: float | None = None
    here: bool = False


class KeptScore(_Kept):
    """What the score is called, and what candidates were ranked by."""

    name: str = ""
    ranked_by: str = ""


class KeptVariable(_Kept):
    """One choice; the last of its options is the dense one."""

    kind: str
    name: str
    options: tuple[str, ...]


class KeptSensitivity(_Kept):
    """What each option does alone, and on how many inputs that was measured."""

    images: int = 0
    single: tuple[tuple[float | None, ...], ...] = ()


class KeptPart(_Kept):
    """A part that was left alone, and why."""

    name: str
    reason: str


class KeptStart(_Kept):
    """run.json: what is searched."""

    automl: str = ""
    command: str = ""
    began: str = ""
    versions: dict[str, str] = Field(default_factory=dict)
    options: dict[str, JsonValue] = Field(default_factory=dict)
    model: KeptModel = KeptModel()
    data: KeptData = KeptData()
    target: KeptTarget = KeptTarget()
    score: KeptScore = KeptScore()
    budget: tuple[str, ...] = ()
    budget_held: str = ""
    limits: dict[str, float] = Field(default_factory=dict)
    agent: str = ""
    seed: int | None = None
    weights_digest: str = ""
    data_digest: str = ""
    compression: str = ""
    left_alone: tuple[KeptPart, ...] = ()
    variables: tuple[KeptVariable, ...] = ()
    sensitivity: KeptSensitivity = KeptSensitivity()


class KeptMetrics(_Kept):
    """What one model costs and is worth, as `automl.pipeline.Metrics`."""

    score: float | None = None
    score_error: float | None = None
    change_error: float | None = None
    predicted_seconds: float | None = None
    predicted_cycles: float | None = None
    error: float | None = None
    at_least: bool = False
    measured_seconds: float | None = None
    measured_spread: float | None = None
    macs: float | None = None
    bytes: float | None = None
    joules: float | None = None
    counted_macs: float | None = None


class KeptLayer(_Kept):
    """A layer as it was and as it is: [dense, now] of channels and MACs."""

    name: str
    op: str = ""
    block: str = ""
    kernel: tuple[int, ...] = ()
    channels: tuple[int, int]
    macs: tuple[float, float] = (0.0, 0.0)
    bits: tuple[int, int] | None = None
    form: str = ""
    removed: bool = False
    merged: bool = False


class KeptTimes(_Kept):
    """Per layer: (seconds or cycles, where they are from)."""

    dense: dict[str, tuple[float | None, str]] = Field(default_factory=dict)
    compressed: dict[str, tuple[float | None, str]] = Field(default_factory=dict)


class KeptOutcome(_Kept):
    """outcome.json: what was found."""

    dense: KeptMetrics
    compressed: KeptMetrics
    scored_on: str = ""
    images: int | None = None
    interrupted: bool = False
    finished: str = ""
    notes: tuple[str, ...] = ()
    layers: tuple[KeptLayer, ...] = ()
    times: KeptTimes = KeptTimes()


def read_kept(path: Path, kind: type[T]) -> T:
    """One of these files.

    Raises:
        StudyError: It is missing, not JSON, or not what it should be; names the key.
    """
    found: Any = read_json(path, StudyError, most=_BYTES)
    try:
        return kind.model_validate(found)
    except ValidationError as error:
        raise StudyError(f"{path}: {fault_of(error)}") from None
