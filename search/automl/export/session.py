"""An exported file in ONNX Runtime, one input at a time, in exact integer arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from automl.errors import ModelError, Raised, attempt

if TYPE_CHECKING:
    import onnxruntime

Array = NDArray[np.float32]

#: Makes ONNX Runtime store int8 weights as uint8. On x86 without VNNI its kernels for unsigned by
#: signed bytes add pairs of products in saturating 16 bits; those for unsigned bytes do not.
_EXACT: Final = ("session.x64quantprecision", "1")


def checking_options() -> onnxruntime.SessionOptions:
    """Options of sessions whose values are compared: exact sums of products on any processor.

    Sessions whose time is measured keep the runtime's own arithmetic, which is quicker.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry(*_EXACT)
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return options


class Session:
    """A model that is run on float inputs, whichever floats it takes itself.

    Args:
        content: Serialised ONNX.

    Raises:
        ModelError: ONNX Runtime refuses the model.
    """

    def __init__(self, content: bytes) -> None:
        import onnxruntime

        session = attempt(
            lambda: onnxruntime.InferenceSession(
                content, checking_options(), providers=["CPUExecutionProvider"]
            )
        )
        if isinstance(session, Raised):
            raise ModelError(
                f"ONNX Runtime refuses the exported model: {session}"
            ) from session.error
        self._session, self._given = session, session.get_inputs()[0]

    def run(self, inputs: Array) -> list[Array]:
        """All outputs on one input, as 32-bit floats."""
        kind = np.float16 if self._given.type == "tensor(float16)" else np.float32
        outputs = self._session.run(None, {self._given.name: inputs.astype(kind)})
        return [np.asarray(output, dtype=np.float32) for output in outputs]
