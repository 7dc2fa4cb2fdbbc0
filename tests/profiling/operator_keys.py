"""Small operators of every kind, and what can be asked of a tiny model."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import onnx

from automl.latency.keys import OpKey
from automl.profiling.integer import has_integer_kernel

SMALL, LARGE, ROWS = (8, 8), (16, 16), (50, 1)
CUBE, LONG = (4, 8, 8), (8, 16, 16)
KEYS = (
    OpKey("conv2d", 3, 16, (3, 3), (2, 2), (1, 1), in_size=LARGE, out_size=SMALL),
    OpKey("conv2d", 16, 32, (3, 3), padding=(1, 1), in_size=SMALL, out_size=SMALL),
    OpKey("conv2d", 32, 31, (3, 3), padding=(1, 1), in_size=SMALL, out_size=SMALL),
    OpKey("conv2d", 32, 32, (3, 3), padding=(1, 1), groups=4, in_size=SMALL, out_size=SMALL),
    OpKey("conv2d", 16, 16, (3, 3), padding=(2, 2), dilation=(2, 2), in_size=SMALL, out_size=SMALL),
    OpKey("depthwise_conv2d", 32, 32, (3, 3), (2, 2), (1, 1), (1, 1), 32, LARGE, SMALL),
    OpKey("conv_transpose2d", 32, 16, (2, 2), (2, 2), in_size=SMALL, out_size=LARGE),
    OpKey("conv_transpose2d", 32, 16, (3, 3), (2, 2), (1, 1), in_size=SMALL, out_size=LARGE),
    OpKey("linear", 64, 10),
    OpKey("linear", 64, 128, in_size=ROWS, out_size=ROWS),
    OpKey("matmul", 32, 50, groups=4, in_size=ROWS, out_size=ROWS),
    OpKey("max_pool", 32, 32, (3, 3), (2, 2), (1, 1), in_size=LARGE, out_size=SMALL),
    OpKey("max_pool", 32, 32, (3, 3), (2, 2), in_size=LARGE, out_size=SMALL),
    OpKey("avg_pool", 32, 32, (2, 2), (2, 2), in_size=LARGE, out_size=SMALL),
    OpKey("global_avg_pool", 32, 32, in_size=LARGE),
    OpKey("add", 32, 32, in_size=SMALL, out_size=SMALL),
    OpKey("add", 64, 64, in_size=ROWS, out_size=ROWS),
    OpKey("mul", 32, 32, in_size=SMALL, out_size=SMALL),
    OpKey("mul", 32, 32, in_size=SMALL, out_size=SMALL, detail="channel"),
    OpKey("concat", 48, 48, in_size=SMALL, out_size=SMALL),
    OpKey("concat", 41, 41, in_size=SMALL, out_size=SMALL, detail="3"),
    OpKey("norm", 32, 32, in_size=SMALL, out_size=SMALL),
    OpKey("norm", 64, 64, in_size=ROWS, out_size=ROWS, detail="layer"),
    OpKey("norm", 32, 32, in_size=ROWS, out_size=ROWS, detail="group"),
    OpKey("activation", 32, 32, in_size=SMALL, out_size=SMALL, detail="silu"),
    OpKey("activation", 32, 32, detail="hardsigmoid"),
    OpKey("activation", 64, 64, in_size=ROWS, out_size=ROWS, detail="gelu"),
    OpKey("softmax", 50, 50, groups=4, in_size=ROWS, out_size=ROWS),
    OpKey("resize", 32, 32, in_size=SMALL, out_size=LARGE, detail="nearest"),
    OpKey("resize", 32, 32, in_size=SMALL, out_size=LARGE, detail="bilinear"),
    OpKey("shuffle", 32, 32, groups=4, in_size=SMALL, out_size=SMALL),
    OpKey("conv2d", 16, 32, (3, 3), padding=(1, 1), in_size=SMALL, out_size=SMALL, batch=3),
    OpKey("conv3d", 16, 8, (3,) * 3, (2,) * 3, (1,) * 3, (1,) * 3, 1, LONG, CUBE),
    OpKey("depthwise_conv3d", 16, 16, (3,) * 3, (1,) * 3, (1,) * 3, (1,) * 3, 16, CUBE, CUBE),
    OpKey("conv_transpose3d", 16, 8, (2,) * 3, (2,) * 3, (0,) * 3, (1,) * 3, 1, CUBE, LONG),
    OpKey("max_pool", 16, 16, (2,) * 3, (2,) * 3, (0,) * 3, (1,) * 3, 1, LONG, CUBE),
    OpKey("activation", 16, 16, in_size=CUBE, out_size=CUBE, detail="sigmoid"),
    OpKey("lstm", 24, 32, groups=2, in_size=ROWS, out_size=ROWS),
    OpKey("gru", 24, 32, in_size=ROWS, out_size=ROWS),
    OpKey("rnn", 24, 32, in_size=ROWS, out_size=ROWS, batch=2),
    OpKey("elementwise", 32, 32, groups=2, in_size=SMALL, out_size=SMALL, detail="maximum"),
    OpKey("elementwise", 32, 32, groups=2, in_size=SMALL, out_size=SMALL, detail="gt"),
    OpKey("reduce", 32, 32, in_size=SMALL, out_size=(1, 1), detail="amax"),
    OpKey("reduce", 32, 1, in_size=SMALL, out_size=SMALL, detail="sum"),
    OpKey("reduce", 32, 1, in_size=ROWS, out_size=ROWS, detail="argmax"),
    OpKey("gather", 32, 32, in_size=ROWS, out_size=ROWS, detail="embedding"),
    OpKey("sort", 100, 1, in_size=(4, 1), out_size=(40, 1), detail="topk"),
)
#: Of maps, of the image, of rows; there and back.
CONVERSIONS = tuple(
    OpKey("convert", channels, channels, in_size=size, out_size=size, detail=way, precision="int8")
    for channels, size in ((32, SMALL), (3, LARGE), (64, ROWS), (64, (1, 1)))
    for way in ("quantize", "dequantize")
)
INTEGERS = tuple(
    replace(key, precision="int8")
    for key in KEYS
    if has_integer_kernel(key.op, key.detail, len(key.in_size))
)


def label(key: OpKey) -> str:
    return f"{key.op}-{key.in_channels}-{key.detail}"


def output_shape(model: bytes) -> tuple[int, ...]:
    inferred = onnx.shape_inference.infer_shapes(onnx.load_from_string(model), strict_mode=True)
    return tuple(d.dim_value for d in inferred.graph.output[0].type.tensor_type.shape.dim)


def counts(model: bytes) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load_from_string(model).graph.node)
