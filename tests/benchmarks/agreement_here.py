"""Runs files of integers on this processor, or an emulated one: numpy and ONNX Runtime alone.

    qemu-x86_64-static -cpu Haswell python tests/benchmarks/agreement_here.py build/arithmetic

For each file NAME.onnx of a folder, with its inputs and what was simulated in NAME.npz, one line of
JSON: how far they differ, as the runtime computes by itself and with its exact kernels.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime


def difference(path: Path, *, exact: bool) -> dict[str, object]:
    """Of the outputs, relative to the largest: the mean and the worst; and of the classes."""
    options = onnxruntime.SessionOptions()
    if exact:
        options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    with np.load(path.with_suffix(".npz")) as held:
        inputs, expected = held["inputs"], held["expected"]
    name = session.get_inputs()[0].name
    found = np.concatenate([session.run(None, {name: one[None]})[0] for one in inputs])
    apart = np.abs(found - expected) / np.abs(expected).max()
    return {
        "file": path.stem,
        "exact": exact,
        "inputs": len(inputs),
        "mean": float(apart.mean()),
        "worst": float(apart.max()),
        "same": float((found.argmax(1) == expected.argmax(1)).mean()),
    }


def main() -> None:
    """All files of a folder, both ways."""
    for path in sorted(Path(sys.argv[1]).glob("*.onnx")):
        for exact in (False, True):
            print(json.dumps(difference(path, exact=exact)), flush=True)


if __name__ == "__main__":
    main()
