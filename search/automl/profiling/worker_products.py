"""Whether a runtime adds up products of bytes in 16 bits, which saturate; part of the worker.

x86 kernels without VNNI (AVX2, AVX-512 BW) add pairs of products of unsigned and signed bytes in
saturating 16 bits: twice 255 x 127 becomes 32,767 instead of 64,770. Which kernels a processor gets
is the runtime's choice, so it is asked by running a model on extreme values.
"""

from __future__ import annotations

import base64
import zlib
from typing import Any, Callable  # noqa: UP035 - boards have Python 3.8

import numpy as np

#: Inputs of every sum, each 255 times 127.
WIDTH = 64
#: A convolution of `maps` [1, 64, 1, 1] and a linear layer of `row` [1, 64], on unsigned bytes of
#: scale 1 with signed bytes that are all 127, as QDQ pairs (base64 of zlib of ONNX; its graph is in
#: tests/profiling/test_worker_products.py).
MODEL = (
    "eNrtVbFOwzAQjVMrNQepIgtQB8QQIYHCUjEwsFAFEFLFwtoFua0FEY1T7KRFLPQXGFiY+FKEnSahlPYLqKUo9r13dz"
    "nl6ZnUzz5cOAAcs5GCWiI4oIxiydnAb9xmTKTRC7+JBGcSjiCPVyxnzIYZV753yZ9+M4/BeeRS8GHBVbQ+4dH9Q7qM"
    "vAdFIShJtCbZxMcXiRjDIZgDYJXykWlal0kmBvzv1wVQQj9k3NcllrQ0RZNJNQjRh7ulI7egwio2mMjK0VvgxCyV0f"
    "OMb6sTumkSVs9/CnMVYZ5MnWFO8fE1j+PABSeVTKiwiT6RTclIJoOsn6rA9VBounWwZU3PA+LZIco6yNK7WoiU2b1j"
    "QkibIIJ0qPg5nSl+Xa9/vYK3XBdGEzPVrjWx1kRD20luocZPvq6CDS0P7WPaRrr7s4uC7sI2QdQDmyD9tIs36u7kxk"
    "obsKVhUsI9nWaceCGtxFGvCYXTLWSSEIPlud87XqqY"
)


def saturates(run: Callable[[bytes, dict[str, Any]], list[Any]]) -> bool:
    """Whether sums of the largest products come out smaller than they are.

    Args:
        run: Outputs of a serialised ONNX model on inputs by name.
    """
    largest = np.full((1, WIDTH), 255, np.float32)
    inputs = {"maps": largest.reshape(1, WIDTH, 1, 1), "row": largest}
    exact = float(255 * 127 * WIDTH)
    outputs = run(zlib.decompress(base64.b64decode(MODEL)), inputs)
    return any(float(np.min(output)) < 0.9 * exact for output in outputs)
