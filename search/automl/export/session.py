"""An exported file in ONNX Runtime, one input at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from automl.errors import ModelError, Raised, attempt

Array = NDArray[np.float32]


class Session:
    """A model that is run on float inputs, whichever floats it takes itself.

    Args:
        content: Serialised ONNX.

    Raises:
        ModelError: ONNX Runtime refuses the model.
    """

    def __init__(self, content: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        session = attempt(
            lambda: onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
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
