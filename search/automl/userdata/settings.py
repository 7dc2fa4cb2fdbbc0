"""automl.toml: what a project does not want to type each time. Flags of the command win."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from automl.errors import UsageError, nearest

NAME: Final = "automl.toml"

Positive = Annotated[int, Field(gt=0)]


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class Settings(BaseModel):
    """The keys of automl.toml, named like the flags. Relative paths start at the file's folder.

    Attributes:
        model: file.py:factory or package.module:factory.
        weights: Path of a state dict.
        data: file.py:loaders or package.module:loaders.
        score: "logits", file.py:function or package.module:function.
        full_scores: Whether no candidate is given up early.
        input_shape: Shape of one input without the batch, as "3x224x224".
        target: Name of a target or path of a table.
        budget: One budget or a list of them, all of which must hold; "2ms,4ms" searches both.
        agent: Name of the agent.
        warm_start: Whether an agent that learns starts from the optimum of additive sensitivity.
        trials: Most policies to score.
        time: Most time of the study: "10min", "90s", "2h".
        seed: Of everything random.
        out: The run folder.
        storage: Address of the database that keeps studies: "sqlite:///studies.db".
        round_to: Channel granularity: "auto" or a number.
        depth: Whether blocks may be left out.
        resolutions: "auto", "off", or input sizes.
        precisions: "float", "auto", or what layers may compute in ("int8", "w4" for weights alone).
        keep_first_last: Whether the first and the last layer stay at 8 bits.
        calibration: Calibration images.
        threads: Threads that operators are measured with.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    model: str | None = None
    weights: str | None = None
    data: str | None = None
    score: str | None = None
    full_scores: bool | None = None
    input_shape: str | None = None
    target: str | None = None
    budget: Annotated[list[str], BeforeValidator(_as_list)] = Field(default_factory=list)
    agent: str | None = None
    warm_start: bool | None = None
    trials: Positive | None = None
    time: str | None = None
    seed: Annotated[int, Field(ge=0)] | None = None
    out: str | None = None
    storage: str | None = None
    round_to: Literal["auto"] | Positive | None = None
    depth: bool | None = None
    resolutions: Literal["auto", "off"] | list[Positive] | None = None
    precisions: Annotated[list[str] | None, BeforeValidator(_as_list)] = None
    keep_first_last: bool | None = None
    calibration: Positive | None = None
    threads: Positive | None = None


def read_settings(folder: Path) -> Settings:
    """The settings in `folder`/automl.toml; all unset where there is no such file.

    Raises:
        UsageError: Not TOML, an unknown key (with the nearest), or a value of the wrong kind.
    """
    path = folder / NAME
    if not path.is_file():
        return Settings()
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
        settings = Settings.model_validate(found)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as problem:
        raise UsageError(f"{path}: {problem}") from problem
    except ValidationError as problem:
        raise UsageError(f"{path}: {_first_fault(problem)}") from problem
    return settings.model_copy(update=_resolved(settings, folder))


def with_flags(settings: Settings, **flags: Any) -> Settings:
    """The settings with the flags that were given (not None) in place of the file's.

    A model on the command line is another than the file's, whose weights are then not taken.
    """
    given = {key: value for key, value in flags.items() if value is not None}
    if "model" in given:
        given.setdefault("weights", None)
    return settings.model_copy(update=given)


def _resolved(settings: Settings, folder: Path) -> dict[str, str]:
    """Relative paths, from the folder of the file."""
    paths: dict[str, str] = {}
    for key in ("model", "data", "score"):
        spec = getattr(settings, key)
        if spec is not None and ".py:" in spec:
            paths[key] = str(folder / spec)
    for key in ("weights", "out"):
        if getattr(settings, key) is not None:
            paths[key] = str(folder / getattr(settings, key))
    return paths


def _first_fault(problem: ValidationError) -> str:
    fault = problem.errors(include_url=False)[0]
    key = str(fault["loc"][0])
    if fault["type"] == "extra_forbidden":
        return f"unknown key {key!r}{nearest(key, Settings.model_fields)}"
    return f"{key}: {fault['msg']}, found {fault['input']!r}"
