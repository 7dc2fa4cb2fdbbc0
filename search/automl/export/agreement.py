"""Whether an integer ONNX file computes what was simulated, and where the two part if not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper

from automl.compression import FakeQuantizeMode, QuantizedModel
from automl.errors import ModelError, Raised, attempt
from automl.export.float_onnx import float_onnx
from automl.export.matching import find_operations
from automl.export.qdq import record_plan
from automl.export.session import Session, fed
from automl.network import Address, LeafCall, output_tensors
from automl.profiling import with_stored_constants

Tensor = torch.Tensor

#: Share of the inputs on which the file and the simulation must have the same largest output,
AGREEMENT: Final = 0.99
#: where two outputs that are nearer to each other than this share of their scale count as alike.
#: Biases rounded to 32-bit integers, and float sums in another order, move a value across a
#: rounding now and then. Outputs then differ by about as much as rounding itself changes them.
_TIE: Final = 0.01
#: Largest mean difference of the outputs, relative to their scale.
_TOLERANCE: Final = 0.02
#: Share of a layer's integers that may be off by more than one before the layer is named.
_APART: Final = 0.01


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far an integer ONNX file computes what the simulation does.

    Attributes:
        inputs: How many were compared.
        top1: Share of them with the same largest output; 1.0 where outputs are no classes.
        alike: The same, where an output that is nearly the largest counts as the largest.
        mean, worst: Difference of the outputs, relative to the largest output.
    """

    inputs: int
    top1: float
    alike: float
    mean: float
    worst: float


def check_quantized(
    content: bytes, model: QuantizedModel, inputs: Tensor, *, exact: bool = True
) -> Agreement:
    """Hold ONNX Runtime's outputs against the simulation's.

    Args:
        content: The file.
        model: What it was made from.
        inputs: To compare on.
        exact: In exact integer arithmetic, whatever this machine's is, which is that of the file
            only if it runs here.

    Raises:
        ModelError: The two do not agree, naming the layer where they part first, or ONNX Runtime
            refuses the file.
    """
    session = Session(content, exact=exact)
    outputs, simulated = list[NDArray[np.float32]](), list[Tensor]()
    for one in inputs.split(1):  # of many at once the values inside would not fit in memory
        outputs.append(session.run(fed(model, one))[0])
        with torch.no_grad():
            simulated.append(output_tensors(model(one))[0])
    found, expected = torch.from_numpy(np.concatenate(outputs)), torch.cat(simulated)
    if found.shape != expected.shape:
        raise ModelError("the ONNX model has outputs of other shapes than the quantised model")
    agreement = _agreement(found.flatten(1), expected.flatten(1), expected.dim() == 2)
    if not (agreement.alike >= AGREEMENT and agreement.mean <= _TOLERANCE):
        gaps = (found - expected).abs().flatten(1).mean(1).nan_to_num(torch.inf)
        worst = int(gaps.argmax())
        raise ModelError(
            f"the integer ONNX model differs from what was simulated: the same class for"
            f" {agreement.top1:.1%} of {agreement.inputs} inputs, outputs off by"
            f" {agreement.mean:.1%} of their scale"
            f"{parting(content, model, inputs[worst : worst + 1], exact=exact)}"
        )
    return agreement


def parting(content: bytes, model: QuantizedModel, one: Tensor, *, exact: bool = True) -> str:
    """Where file and simulation part first on an input, in words; "" where that cannot be told."""
    written = attempt(lambda: _integers(content, model, one, exact=exact))
    if isinstance(written, Raised) or not written:
        return ""
    for address, (step, integers) in _simulated(model, one).items():
        if address not in written or written[address].shape != integers.shape:
            continue
        off = np.abs(written[address].astype(np.int64) - integers)
        share = float((off > 1).mean())
        if share > _APART:
            layer = model.plan.readers.get(address) or step.module or step.op
            return f"; they part first at {layer}: {share:.1%} of its integers are others"
    return "; what its layers write is alike but for the last"


class _WrittenIntegers(FakeQuantizeMode):
    """The integers that operations write, in the order of the pass."""

    def __init__(self, model: QuantizedModel) -> None:
        super().__init__(model.network, model.plan, model.qparams)
        self.found: dict[Address, tuple[LeafCall, NDArray[np.int64]]] = {}

    def after(
        self, step: LeafCall, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        super().after(step, func, args, kwargs, output)
        bits = self.plan.rounding.outputs.get(step.address)
        if bits is not None:
            qparams = self.qparams[step.address, bits]
            written = output_tensors(output)[0].detach()
            integers = torch.round(written / qparams.scale) + qparams.zero_point
            self.found[step.address] = step, integers.to(torch.int64).numpy()


def _simulated(
    model: QuantizedModel, one: Tensor
) -> dict[Address, tuple[LeafCall, NDArray[np.int64]]]:
    mode = _WrittenIntegers(model)
    with mode.attached():
        model.network(one)
    return mode.found


def _named_integers(
    graph: onnx.GraphProto, model: QuantizedModel, one: Tensor
) -> dict[Address, str]:
    """Per operation, the file's value of the integers that it writes, whichever exporter made it.

    Raises:
        ModelError: An operation is not found.
    """
    made = {name for node in graph.node for name in node.output}
    shape = (1, *one.shape[1:])
    recorded = record_plan(model.network, model.plan, shape)
    for thorough in (False, True):
        content = float_onnx(model.network, shape, thorough=thorough)
        proto = with_stored_constants(onnx.load_from_string(content))
        matches = find_operations(proto, recorded)
        names = {each: f"{matches[each].value}/integers" for each in model.plan.rounding.outputs}
        found = {address: name for address, name in names.items() if name in made}
        if found:
            return found
    return {}


def _integers(
    content: bytes, model: QuantizedModel, one: Tensor, *, exact: bool
) -> dict[Address, NDArray[np.generic]]:
    """What integer kernels write, as further outputs of the file."""
    proto = onnx.load_from_string(content)
    shown = _named_integers(proto.graph, model, one)
    for address, name in shown.items():
        bits = model.plan.rounding.outputs[address]
        signed = model.qparams[address, bits].low < 0
        kind = TensorProto.INT8 if signed else TensorProto.UINT8
        proto.graph.output.append(helper.make_tensor_value_info(name, kind, None))
    before = len(proto.graph.output) - len(shown)
    session = Session(proto.SerializeToString(), exact=exact)
    values = session.outputs(fed(model, one))[before:]
    return dict(zip(shown, values, strict=True))


def _agreement(found: Tensor, expected: Tensor, classes: bool) -> Agreement:
    scale = float(expected.abs().max()) or 1.0
    gaps = (found - expected).abs() / scale
    top1 = alike = 1.0
    if classes and expected.shape[1] > 1:
        chosen = expected.gather(1, found.argmax(1, keepdim=True))[:, 0]
        behind = expected.max(1).values - chosen
        top1 = float((behind <= 0).float().mean())
        alike = float((behind <= _TIE * scale).float().mean())
    return Agreement(len(found), top1, alike, float(gaps.mean()), float(gaps.max()))
