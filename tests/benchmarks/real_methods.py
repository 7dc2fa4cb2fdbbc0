"""The methods that stand beside a search in bench_real.py, one process each.

    python tests/benchmarks/real_methods.py resolution lite1 --share 0.7
    python tests/benchmarks/real_methods.py check lite1 --run build/real/runs/lite1-70%-ours-0

The last line on stdout is a JSON document of `Found`, or of `Checked`. Measured shares are of the
dense network's latency, both interleaved in one run of ONNX Runtime, one thread, batch 1.
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from efficientnet_lite import SIZES, Batches, lite1, lite2, loaders
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn

from automl.compression import Compressor, resized
from automl.export import onnx_bytes
from automl.network import trace_network
from automl.pipeline.finishing import making_of
from automl.pipeline.pricing import measure_here
from automl.policy import read_policy
from automl.study import judge
from automl.userdata import top1_accuracy

NETWORKS = {"lite1": lite1, "lite2": lite2}
Right = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
#: Seconds of an interleaved measurement: of one that decides the next step, of the row's own.
PROBE_SECONDS, FINAL_SECONDS = 4.0, 12.0
#: Channels that Torch-Pruning's counts are multiples of, and how often its ratio is halved.
ROUND_TO, HALVINGS = 8, 6
#: Input sizes are tried in multiples of so many pixels.
PIXELS = 8


@dataclass(frozen=True, slots=True)
class Found:
    """What a method came to. Accuracies in percent of the photos that judge.

    Attributes:
        dense, accuracy: Of the network as it came, and of what the method delivers.
        raw, refitted: Before and after what finishes the method's weights; None where it has no
            such step.
        measured: Share of the dense latency.
        detail: What was chosen.
    """

    dense: float
    accuracy: float
    measured: float
    detail: str
    raw: float | None = None
    refitted: float | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """What else is asked of a search's result. Accuracies in percent of the photos that judge.

    Attributes:
        raw: With the weights of the compression database, before the refit.
        file: Of the ONNX file that was written.
        lost, gained: Photos that the dense network alone names rightly, and the file alone.
    """

    raw: float
    file: float
    lost: int
    gained: int


class Subject:
    """A network with its photos: those of the search, and those that judge."""

    def __init__(self, name: str) -> None:
        self.model, size = NETWORKS[name](), SIZES[name]
        self.shape = (1, 3, size, size)
        self.calibration, scored, self.judging = loaders(name)
        self.search: Batches = [*scored, *self.calibration]

    @cached_property
    def dense_onnx(self) -> bytes:
        """The network as it came."""
        return onnx_bytes(self.model, self.shape)

    def share(self, content: bytes, seconds: float) -> float:
        """Its latency over that of the dense network."""
        times = measure_here({"dense": self.dense_onnx, "small": content}, 1, seconds)
        return times["small"] / times["dense"]

    def accuracy(self, model: nn.Module, resolution: int = 0) -> float:
        """Percent, on the photos that judge."""
        return 100 * judge(model, top1_accuracy, self.judging, resolution)

    def right(self, content: bytes, resolution: int = 0) -> Right:
        """Which of the photos that judge an ONNX file names rightly."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        session = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
        given = session.get_inputs()[0].name
        found = [
            session.run(None, {given: photo.numpy()})[0].argmax() == label
            for photos, labels in self.judging
            for photo, label in zip(resized(photos, resolution).split(1), labels, strict=True)
        ]
        return np.array(found, dtype=np.bool_)


def resolution(subject: Subject, share: float) -> Found:
    """The largest input, in steps of 8 pixels, that is quick enough; nothing else changes."""
    size = subject.shape[-1]
    fits, too_large = size // 4 // PIXELS, size // PIXELS
    while too_large - fits > 1:
        middle = (fits + too_large) // 2
        content = onnx_bytes(subject.model, (1, 3, middle * PIXELS, middle * PIXELS))
        if subject.share(content, PROBE_SECONDS) <= share:
            fits = middle
        else:
            too_large = middle
    pixels = fits * PIXELS
    content = onnx_bytes(subject.model, (1, 3, pixels, pixels))
    return Found(
        dense=subject.accuracy(subject.model),
        accuracy=subject.accuracy(subject.model, pixels),
        measured=subject.share(content, FINAL_SECONDS),
        detail=f"{pixels} of {size} pixels",
    )


def torch_pruning(subject: Subject, share: float) -> Found:
    """Torch-Pruning's global ranking by L1, at the ratio that is quick enough.

    It has no step without training that finishes weights; what it delivers is told as it is (raw)
    and with the means and variances of its batch normalisations taken anew on the search's photos.
    """
    fits, too_large, best = 0.0, 0.95, None
    for _ in range(HALVINGS):
        ratio = (fits + too_large) / 2
        pruned = _ranked(subject, ratio)
        if subject.share(onnx_bytes(pruned, subject.shape), PROBE_SECONDS) <= share:
            too_large, best = ratio, pruned
        else:
            fits = ratio
    if best is None:
        raise SystemExit(f"Torch-Pruning reaches no {share:.0%} of the latency")
    raw = subject.accuracy(best)
    _renormalise(best, subject.search)
    after = subject.accuracy(best)
    return Found(
        dense=subject.accuracy(subject.model),
        accuracy=after,
        measured=subject.share(onnx_bytes(best, subject.shape), FINAL_SECONDS),
        detail=f"{too_large:.0%} of channels, in steps of {ROUND_TO}",
        raw=raw,
        refitted=after,
    )


def _ranked(subject: Subject, ratio: float) -> nn.Module:
    import torch_pruning as library

    pruned = copy.deepcopy(subject.model)
    pruner = library.pruner.MagnitudePruner(
        pruned,
        torch.zeros(subject.shape),
        importance=library.importance.MagnitudeImportance(p=1),
        global_pruning=True,
        pruning_ratio=ratio,
        max_pruning_ratio=0.95,
        round_to=ROUND_TO,
        ignored_layers=[m for m in pruned.modules() if isinstance(m, nn.Linear)],
    )
    pruner.step()
    return pruned.eval()


@torch.no_grad()
def _renormalise(model: nn.Module, batches: Batches) -> None:
    layers = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the plain mean over batches
        layer.train()
    for photos, _ in batches:
        model(photos)
    model.eval()


class _Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
    """The search's photos, one at a time."""

    def __init__(self, batches: Batches, given: str) -> None:
        self._photos: Iterator[dict[str, object]] = (
            {given: photo.numpy()} for photos, _ in batches for photo in photos.split(1)
        )

    def get_next(self) -> dict[str, object] | None:
        return next(self._photos, None)


def int8(subject: Subject, share: float, *, float_ends: bool = False) -> Found:
    """ONNX Runtime's own static quantisation, an int8 scale a channel, whatever its share is.

    Weights have 7 bits where the processor lacks VNNI: its products of bytes saturate there.
    """
    del share  # there is one network, and no choice in it
    saturates = "vnni" not in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        whole, prepared, done = (str(Path(folder) / n) for n in ("a.onnx", "b.onnx", "c.onnx"))
        Path(whole).write_bytes(onnx_bytes(subject.model, subject.shape, thorough=True))
        quant_pre_process(whole, prepared, skip_symbolic_shape=True)
        session = onnxruntime.InferenceSession(prepared, providers=["CPUExecutionProvider"])
        quantization.quantize_static(
            prepared,
            done,
            _Reader(subject.search, session.get_inputs()[0].name),
            per_channel=True,
            reduce_range=saturates,
            activation_type=quantization.QuantType.QUInt8,
            nodes_to_exclude=_ends(prepared) if float_ends else [],
        )
        content = Path(done).read_bytes()
    dense = subject.accuracy(subject.model)
    ends = "first and last layer in float" if float_ends else "all layers"
    return Found(
        dense=dense,
        accuracy=100 * float(subject.right(content).mean()),
        measured=subject.share(content, FINAL_SECONDS),
        detail=f"{ends}, {7 if saturates else 8}-bit weights",
    )


def _ends(path: str) -> list[str]:
    """Names of the first and the last layer of an ONNX file."""
    import onnx

    layers = [n.name for n in onnx.load(path).graph.node if n.op_type in ("Conv", "Gemm", "MatMul")]
    return [layers[0], layers[-1]]


def int8_float_ends(subject: Subject, share: float) -> Found:
    """The same, the first and the last layer in float."""
    return int8(subject, share, float_ends=True)


def check(subject: Subject, run: Path) -> Checked:
    """A search's result without its refit, and its file photo by photo."""
    file = read_policy(run / "policy.json")
    policy = file.policy
    sizes = (policy.resolution,) if policy.resolution else ()
    traced = trace_network(subject.model, subject.shape, resolutions=sizes)
    config = making_of(file, None, None)
    counts = {name: (kept,) for name, kept in policy.channels.items()}
    images = torch.cat([photos for photos, _ in subject.calibration])
    compressor = Compressor(traced, images, counts, config=config, scheme=file.target.scheme)
    raw = subject.accuracy(compressor.make(policy, finish=False), policy.resolution)
    dense = subject.right(subject.dense_onnx)
    small = subject.right((run / "model.onnx").read_bytes(), policy.resolution)
    return Checked(
        raw=raw,
        file=100 * float(small.mean()),
        lost=int((dense & ~small).sum()),
        gained=int((small & ~dense).sum()),
    )


METHODS = {
    "resolution": resolution,
    "torch-pruning": torch_pruning,
    "int8": int8,
    "int8-float-ends": int8_float_ends,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """One method, or the check of one run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("method", choices=[*METHODS, "check"])
    parser.add_argument("network", choices=[*NETWORKS])
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    torch.manual_seed(options.seed)
    torch.set_num_threads(1)
    subject = Subject(options.network)
    if options.method == "check":
        found: Found | Checked = check(subject, options.run)
    else:
        found = METHODS[options.method](subject, options.share)
    print(json.dumps(asdict(found)))


if __name__ == "__main__":
    main()
