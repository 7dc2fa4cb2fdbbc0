"""Do files of integers compute what was simulated, on processors of several kinds?

    python tests/benchmarks/bench_arithmetic.py            # here, and on what can be emulated
    python tests/benchmarks/bench_arithmetic.py --table    # of the rows that are there

Two networks, all layers in integers, rounded to nearest: the small one of the tests, which has most
kinds of operators, and the embedded example. Each in four schemes. Files and simulated outputs are
made here; agreement_here.py then runs the files on this processor, on an emulated Haswell (AVX2,
no VNNI: pairs of products saturate), and on emulated aarch64 where AUTOML_ARM64_ROOT names a root
that make_arm64_root.sh has made. Rows go to build/arithmetic/rows.jsonl.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / each) for each in ("search", "tests")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402

from quantised import Net, images  # noqa: E402

HERE = Path(__file__).resolve().parent
SCHEMES = ("qdq-u8s8", "qdq-u8s7", "qdq-u8u8", "qdq-s8s8")
INPUTS = 16


def networks() -> Iterator[tuple[str, nn.Module, torch.Tensor]]:
    """Their names, themselves, and inputs such as they see."""
    from automl.example import EXAMPLES
    from automl.userdata import load_data, load_model

    with torch.random.fork_rng():
        torch.manual_seed(1)
        yield "all kinds", Net().eval(), images(INPUTS)
    example = EXAMPLES[0]
    shown = load_data(example.data, INPUTS).calibration.by_number[:INPUTS]
    yield "example", load_model(example.model).eval(), shown


def make_files(out: Path) -> None:
    """Each network in each scheme, with what was simulated."""
    from automl.compression.layer_matrix import matrix, set_matrix
    from automl.compression.memory import ImageParts
    from automl.compression.quantization.calibrating import CalibrationMode
    from automl.compression.quantization.qparams import round_to, values, weight_qparams
    from automl.compression.quantization.simulation import QuantizedModel, make_plan
    from automl.export.qdq import quantized_bytes
    from automl.network import Flow, trace_network
    from automl.policy import Bits

    for name, model, shown in networks():
        shape = (1, *shown.shape[1:])
        traced = trace_network(model, shape, resolutions=())
        flow = Flow(traced.trace)
        for scheme in SCHEMES:
            plan = make_plan(flow, dict.fromkeys(flow.layers, Bits(8, 8)), scheme)
            network = copy.deepcopy(traced.model).requires_grad_(False)
            weights = {}
            for layer, bits in plan.bits.items():
                module = network.get_submodule(layer)
                weights[layer] = weight_qparams(matrix(module), bits.weights)
                rounded = round_to(matrix(module), weights[layer])
                set_matrix(module, values(rounded, weights[layer]))
            parts = ImageParts(lambda here, of=shown: of[here], (slice(0, len(shown)),), {})
            walk = CalibrationMode(network, plan, parts)
            walk.calibrate()
            quantised = QuantizedModel(network, plan, walk.qparams, weights)
            (out / f"{name}, {scheme}.onnx").write_bytes(quantized_bytes(quantised, shape))
            with torch.no_grad():
                expected = torch.cat([quantised(one) for one in shown.split(1)])
            np.savez(out / f"{name}, {scheme}.npz", inputs=shown.numpy(), expected=expected.numpy())


def processors() -> dict[str, list[str]]:
    """Names of processors, with the Python of each."""
    found = {f"this machine ({_model()})": [sys.executable]}
    if shutil.which("qemu-x86_64-static") and platform.machine() == "x86_64":
        emulated = ["qemu-x86_64-static", "-cpu", "Haswell", os.path.realpath(sys.executable)]
        found["Haswell, AVX2 without VNNI (qemu)"] = emulated
    root = os.environ.get("AUTOML_ARM64_ROOT")
    if root:
        found["aarch64 (qemu)"] = [f"{root}/opt/worker/python3"]
    return found


def _model() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    flags = next((line for line in lines if line.startswith("flags")), "").split()
    vnni = " with VNNI" if {"avx512_vnni", "avx_vnni"} & {*flags} else ""
    named = next((line for line in lines if line.startswith("model name")), ": unknown")
    return named.partition(":")[2].strip() + vnni


def run(out: Path) -> None:
    """Run the files on each processor, and keep the rows as they come."""
    folders = [each for each in sys.path if each.endswith("site-packages")]
    with (out / "rows.jsonl").open("w", encoding="utf-8", buffering=1) as file:
        for name, python in processors().items():
            # The aarch64 root's Python has packages of its own.
            own = {} if name.startswith("aarch64") else {"PYTHONPATH": ":".join(folders)}
            with subprocess.Popen(
                [*python, str(HERE / "agreement_here.py"), str(out)],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=os.environ | own,
                text=True,
            ) as process:
                assert process.stdout is not None
                for line in process.stdout:
                    file.write(json.dumps({"processor": name, **json.loads(line)}) + "\n")
            print(f"{name}: status {process.returncode}", file=sys.stderr)


def table(out: Path) -> str:
    """Markdown: a line a processor, network and scheme."""
    path = out / "rows.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    lines = [
        "| processor | network | scheme | as it computes: mean | worst | same class |"
        " exact kernels: mean | worst | same class |",
        "|---" * 9 + "|",
    ]
    pairs = {(row["processor"], row["file"], row["exact"]): row for row in rows}
    for processor, file, exact in pairs:
        if exact or (processor, file, True) not in pairs:
            continue
        network, scheme = file.split(", ")
        both = [pairs[processor, file, each] for each in (False, True)]
        told = [
            f"{100 * one['mean']:.2f} % | {100 * one['worst']:.1f} % | {one['same']:.0%}"
            for one in both
        ]
        lines.append(f"| {processor} | {network} | {scheme} | {' | '.join(told)} |")
    return "\n".join(lines)


def main() -> None:
    """Make the files, run them, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "arithmetic")
    parser.add_argument("--table", action="store_true", help="of the rows that are there")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.table:
        torch.set_num_threads(1)
        make_files(options.out)
        run(options.out)
    print(table(options.out))


if __name__ == "__main__":
    main()
