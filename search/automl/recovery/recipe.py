"""What a recovery does: losses, how long, how fast, and where it begins."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from automl.documents import fault_of, read_toml
from automl.errors import UsageError
from automl.recovery.base import Hook, Start, Term
from automl.recovery.hooking import made_hooks
from automl.recovery.quantizers.registry import TRAINED_QUANTIZERS
from automl.recovery.starts.registry import STARTS
from automl.recovery.terms.registry import TERMS


@dataclass(frozen=True, slots=True)
class RecoveryRecipe:
    """One recovery.

    Attributes:
        terms: Losses as they are written: "kd", "kd:temperature=2".
        epochs: Passes over the data.
        steps: Most steps; 0 for no limit beside the epochs.
        learning_rate: Of the optimiser, after the warm-up; falls to zero along a cosine.
        warmup: Share of the steps over which the rate rises to that.
        optimiser: "sgd" with Nesterov momentum, or "adamw".
        momentum, weight_decay: Of the optimiser.
        clip: Largest norm of a step's gradients.
        ema: Decay of the average of weights that is delivered in their place; 0 for none.
        patience: Epochs without a better held-back score after which it ends, the best epoch's
            weights kept; 0 for never, and the held-back data is looked at before and after alone.
        start: Which weights it begins with.
        quantizer: How rounding is trained, of networks that compute in integers.
        hooks: What is done between steps, as it is written: "soft-mask:share=0.5".
    """

    terms: tuple[str, ...] = ("kd",)
    epochs: int = 10
    steps: int = 0
    learning_rate: float = 0.01
    warmup: float = 0.05
    optimiser: Literal["sgd", "adamw"] = "sgd"
    momentum: float = 0.9
    weight_decay: float = 1e-4
    clip: float = 1.0
    ema: float = 0.0
    patience: int = 0
    start: str = "keep"
    quantizer: str = "lsq"
    hooks: tuple[str, ...] = ()

    def made_terms(self) -> tuple[Term, ...]:
        """The losses.

        Raises:
            UsageError: There is none of that name, or it does not take an option.
        """
        return tuple(TERMS.build(text) for text in self.terms)

    def made_hooks(self) -> tuple[Hook, ...]:
        """The hooks.

        Raises:
            UsageError: There is none of that name, or it does not take an option; or the recipe
                keeps the best epoch, and a hook is not done before the last.
        """
        made = made_hooks(self.hooks)
        leaving = [text for text, hook in zip(self.hooks, made, strict=True) if hook.leaves]
        if self.patience and leaving:
            raise UsageError(
                f"patience keeps the best epoch, and {leaving[0].partition(':')[0]} is done with"
                " its work after the last: leave patience out"
            )
        return made

    def made_start(self) -> Start:
        """The start.

        Raises:
            UsageError: There is none of that name.
        """
        return STARTS.build(self.start)

    def rate_at(self, share: float) -> float:
        """The learning rate when a share of the training is done: a warm-up, then a cosine."""
        if share < self.warmup:
            return self.learning_rate * (share / self.warmup)
        angle = math.pi * (share - self.warmup) / (1 - self.warmup)
        return self.learning_rate * (0.5 * (1 + math.cos(angle)))

    @property
    def digest(self) -> str:
        """Of all that it says."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:16]


class _Stated(BaseModel):
    """A recipe as a file says it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    terms: dict[str, dict[str, bool | int | float | str]] = Field(min_length=1)
    epochs: int = Field(default=10, ge=1)
    learning_rate: float = Field(default=0.01, gt=0)
    warmup: float = Field(default=0.05, ge=0, lt=1)
    optimiser: Literal["sgd", "adamw"] = "sgd"
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=1e-4, ge=0)
    clip: float = Field(default=1.0, gt=0)
    ema: float = Field(default=0.0, ge=0, lt=1)
    patience: int = Field(default=0, ge=0)
    start: str = "keep"
    quantizer: str = "lsq"
    hooks: tuple[str, ...] = ()


def read_recipe(path: Path) -> RecoveryRecipe:
    """A recipe of a TOML file.

    Raises:
        UsageError: The file cannot be read, or a key or value of it is none; names the nearest.
    """
    given, _ = read_toml(path, UsageError, "a recovery recipe")
    try:
        stated = _Stated.model_validate(given)
    except ValidationError as problem:
        raise UsageError(f"{path}: {fault_of(problem, _Stated.model_fields)}") from None
    values: dict[str, Any] = stated.model_dump()
    values["terms"] = tuple(
        name
        + ":" * bool(options)
        + ",".join(f"{key}={_text(each)}" for key, each in options.items())
        for name, options in stated.terms.items()
    )
    made = RecoveryRecipe(**values)
    try:
        made.made_terms()
        made.made_start()
        made.made_hooks()
        TRAINED_QUANTIZERS.build(made.quantizer)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    return made


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
