"""Models in fp16: the same network, in tensors of half the size."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto
from torch import nn
from torch.nn import functional as F

from automl.export.onnx import onnx_bytes
from automl.export.session import checking_options
from automl.profiling.half import half_model


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.interpolate(F.relu(self.conv(x)) * 0.5, scale_factor=2.0)
        return self.head(x.mean((2, 3)))


def test_all_tensors_are_half_and_the_outputs_near() -> None:
    network = Network().eval()
    half = half_model(onnx_bytes(network, (1, 3, 8, 8)))
    graph = onnx.load_from_string(half).graph
    floats = {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    scales = {name for node in graph.node if node.op_type == "Resize" for name in node.input[1:]}
    assert floats <= scales
    session = onnxruntime.InferenceSession(
        half, checking_options(), providers=["CPUExecutionProvider"]
    )
    assert session.get_inputs()[0].type == "tensor(float16)"
    images = torch.randn(1, 3, 8, 8)
    (found,) = session.run(None, {session.get_inputs()[0].name: images.half().numpy()})
    assert found.dtype == np.float16
    assert np.allclose(found, network(images).detach().numpy(), atol=5e-3)


def test_weights_stay_finite() -> None:
    network = nn.Linear(2, 1)
    with torch.no_grad():
        network.weight.fill_(1e6)
    graph = onnx.load_from_string(half_model(onnx_bytes(network.eval(), (1, 2)))).graph
    weights = [onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer]
    assert all(np.isfinite(values).all() for values in weights)
