"""An exported file in ONNX Runtime, one input at a time: exactly, or as this machine computes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from automl.errors import ModelError, Raised, attempt
from automl.network import input_hook

if TYPE_CHECKING:
    import onnxruntime

Array = NDArray[np.float32]
Tensor = torch.Tensor
#: Arrays by name, or the only one.
Feed = Mapping[str, NDArray[Any]] | NDArray[Any]

#: Makes ONNX Runtime store int8 weights as uint8. On x86 without VNNI its kernels for unsigned by
#: signed bytes add pairs of products in saturating 16 bits; those for unsigned bytes do not.
_EXACT: Final = ("session.x64quantprecision", "1")


def checking_options(*, exact: bool = True) -> onnxruntime.SessionOptions:
    """Options of sessions whose values are compared.

    Args:
        exact: Sums of products are exact on any processor, as befits what runs elsewhere; else
            they are those of the runtime on this one, as befits what runs here.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if exact:
        options.add_session_config_entry(*_EXACT)
    options.log_severity_level = 4  # what fails is raised
    options.intra_op_num_threads = 1
    return options


#: Escape codes that ONNX Runtime writes into what it says.
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")
#: What an array is cast to for an input of the file.
_KINDS: Final = {
    "tensor(float16)": np.float16,
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
}


def fed(model: nn.Module, rows: Tensor) -> dict[str, NDArray[Any]]:
    """What a model's file is given for an input of the model: arrays by name.

    Args:
        model: What was exported.
        rows: Inputs as the program handles them.
    """
    hook = input_hook(model)
    if hook is None or hook.form.plain:
        return {"input": rows.numpy()}
    tensors = zip(hook.form.tensors, hook.form.split(rows), strict=True)
    return {each.name: tensor.numpy() for each, tensor in tensors}


def by_name(session: onnxruntime.InferenceSession, inputs: Feed) -> dict[str, NDArray[Any]]:
    """What a session is given: arrays of the floats that it takes; those that it lacks left out."""
    found = {}
    for each in session.get_inputs():
        array = inputs[each.name] if isinstance(inputs, Mapping) else inputs
        with np.errstate(over="ignore"):  # what is beyond the range of 16 bits is infinite there
            found[each.name] = array.astype(_KINDS.get(each.type, array.dtype))
    return found


class Session:
    """A model that is run on inputs by name, whichever floats it takes itself.

    Args:
        content: Serialised ONNX.
        exact: As of `checking_options`.

    Raises:
        ModelError: ONNX Runtime refuses the model.
    """

    def __init__(self, content: bytes, *, exact: bool = True) -> None:
        import onnxruntime

        session = attempt(
            lambda: onnxruntime.InferenceSession(
                content, checking_options(exact=exact), providers=["CPUExecutionProvider"]
            )
        )
        if isinstance(session, Raised):
            raise ModelError(
                f"ONNX Runtime refuses the exported model: {session}"
            ) from session.error
        self._session = session

    def run(self, inputs: Feed) -> list[Array]:
        """All outputs on one input, as 32-bit floats.

        Raises:
            ModelError: As `outputs`.
        """
        return [np.asarray(output, dtype=np.float32) for output in self.outputs(inputs)]

    def outputs(self, inputs: Feed) -> list[NDArray[Any]]:
        """All outputs on one input, as the file has them.

        Raises:
            ModelError: ONNX Runtime has no such operator, or not of such shapes.
        """
        outputs = attempt(lambda: self._session.run(None, by_name(self._session, inputs)))
        if isinstance(outputs, Raised):
            said = _COLOURS.sub("", str(outputs))
            raise ModelError(f"ONNX Runtime cannot run the exported model: {said}") from (
                outputs.error
            )
        return [np.asarray(output) for output in outputs]
