"""Options of making a policy's model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from automl.errors import OptionError
from automl.options.declare import Options, option
from automl.options.kinds import (
    EXPORT,
    PATH,
    RECOVERY,
    SEED,
    SWITCH,
    method_with_options,
    methods_with_options,
    recovery_of,
    whole,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyOptions(Options):
    """What is made of a policy, and where it goes."""

    recover: str = option(
        RECOVERY,
        "0",
        help="Train after the refit, towards the dense network: 20 epochs, kd+hints:20, auto:30min"
        " (rungs, each kept where it helps), or a recipe.toml; see automl methods terms.",
        shown="no training",
    )
    start: str | None = option(
        method_with_options("starts"),
        None,
        help="Weights that the training begins with: see automl methods starts.",
        shown="keep, or the recipe's",
    )
    quantizer: str | None = option(
        method_with_options("trained-quantizers"),
        None,
        help="How the rounding of a policy with bits is trained: see automl methods"
        " trained-quantizers.",
        shown="lsq, or the recipe's",
    )
    hook: tuple[str, ...] = option(
        methods_with_options("hooks"),
        (),
        help="What is done between the training's steps: zero-out:share=0.3; see automl methods"
        " hooks. Repeat it for several.",
        shown="none, or the recipe's",
    )
    export: Path | None = option(
        EXPORT, None, help="Write the model, checked: .onnx, .py (source), .pte or .tflite."
    )
    packed: Path | None = option(PATH, None, help="Write the weights in the bits they have.")
    huffman: bool = option(SWITCH, False, help="Entropy-code the packed weights.")
    out: Path | None = option(PATH, None, help="State dict.", shown="model.pt by the policy")
    calibration: int | None = option(
        whole(1), None, help="Calibration inputs, of a policy that does not say how many."
    )
    seed: int | None = option(
        SEED, None, help="Of the training.", shown="that of the policy's search"
    )

    tensorboard: bool = option(
        SWITCH, False, help="Write the training's losses and scores for TensorBoard."
    )

    def check_together(self) -> None:
        """Refuse to code what is not written, and to begin what is not asked for."""
        asked = recovery_of(self.recover)
        none = not (asked.terms or asked.seconds or asked.file)
        if self.start is not None and (none or (asked.seconds and self.start != "keep")):
            raise OptionError(
                "start",
                "is where a training of some epochs begins, and none is asked for",
                options=("recover",),
            )
        if self.quantizer is not None and (none or (asked.seconds and self.quantizer != "lsq")):
            raise OptionError(
                "quantizer",
                "rounds in a training of some epochs, and none is asked for",
                options=("recover",),
            )
        if self.hook and (none or asked.seconds):
            raise OptionError(
                "hook",
                "acts between the steps of a training of some epochs, and none is asked for",
                options=("recover",),
            )
        if self.tensorboard and none:
            raise OptionError(
                "tensorboard", "shows a training, and none is asked for", options=("recover",)
            )
        if self.huffman and self.packed is None:
            raise OptionError(
                "huffman", "codes the packed weights, and none are written", options=("packed",)
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyOptions(Options):
    """What becomes of what a policy's network took."""

    write: bool = option(SWITCH, False, help="Keep what was measured in the policy.")
