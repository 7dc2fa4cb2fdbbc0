"""Options of making a policy's model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from automl.errors import OptionError
from automl.options.declare import Options, option
from automl.options.kinds import EXPORT, PATH, SEED, SWITCH, whole


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyOptions(Options):
    """What is made of a policy, and where it goes."""

    epochs: int = option(
        whole(0, "EPOCHS"), 0, help="Train after the refit.", unit="epochs", written="finetune"
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
        SEED, None, help="Of fine-tuning.", shown="that of the policy's search"
    )

    def check_together(self) -> None:
        """Refuse to code what is not written."""
        if self.huffman and self.packed is None:
            raise OptionError(
                "huffman", "codes the packed weights, and none are written", options=("packed",)
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyOptions(Options):
    """What becomes of what a policy's network took."""

    write: bool = option(SWITCH, False, help="Keep what was measured in the policy.")
