"""A vision transformer and a detector, trained here, searched at half of their measured latency.

Train them first (train_vit.py, train_detector.py; tens of minutes of one core each). The searches
are the plain command; the detector is scored by its mean average precision, and once more by its
outputs alone. The test images judge the dense network and the result, each once.

    python tests/benchmarks/bench_trained.py [--searches vit detector detector-logits]
    python tests/benchmarks/bench_trained.py --table       # of the rows that are there

Each search is a process of its own, with a latency table of its own that begins empty. Rows are
appended to build/trained/rows.jsonl; those that are there are not run again.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import detector
import onnxruntime
import torch
import vit
from bench_real import described, run, stages_of
from torch import Tensor, nn

from automl.compression import resized
from automl.userdata import top1_accuracy

HERE = Path(__file__).resolve().parent
#: Module of the network, and what is added to the plain command.
SEARCHES = {
    "vit": ("vit", ()),
    "detector": ("detector", ("--score", f"{HERE / 'detector.py'}:map50")),
    "detector-logits": ("detector", ("--score", "logits")),
}
#: Of each network: its module, its class and what judges it.
NETWORKS: dict[str, tuple[ModuleType, str, Any]] = {
    "vit": (vit, "ViT", top1_accuracy),
    "detector": (detector, "Detector", detector.map50),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One search. Scores are percent of top-1 accuracy, or of mean average precision.

    Attributes:
        search, budget, seed: Which row it is; the budget in percent of the dense latency.
        dense, file: On the test images: of the network as it came, and of the ONNX file.
        promised, measured: Shares of the dense latency.
        milliseconds: Measured, before and after.
        macs, size: Shares of the dense network's.
        seconds, cpu_seconds, peak_mb: Of the whole command.
        stages: Seconds of the search's stages.
        detail: What was chosen.
        load, ended: Of the machine when the row began; when it was done.
    """

    search: str
    budget: int
    seed: int
    dense: float
    file: float
    promised: float
    measured: float
    milliseconds: tuple[float, float]
    macs: float
    size: float
    seconds: float
    cpu_seconds: float
    peak_mb: float
    stages: dict[str, float]
    detail: str
    load: float
    ended: str


class File(nn.Module):
    """An ONNX file in the network's place: one thread, an image at a time, its outputs in turn."""

    def __init__(self, path: Path, resolution: int) -> None:
        super().__init__()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        self._session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
        self._resolution = resolution

    def forward(self, images: Tensor) -> Any:
        """The first output, or all of several."""
        given = self._session.get_inputs()[0].name
        each = [
            self._session.run(None, {given: image.numpy()})
            for image in resized(images, self._resolution).split(1)
        ]
        outputs = [
            torch.cat([torch.from_numpy(one) for one in parts]) for parts in zip(*each, strict=True)
        ]
        return outputs if len(outputs) > 1 else outputs[0]


def search(name: str, budget: int, seed: int, out: Path) -> Row:
    """The plain command, then what its file says of the test images."""
    network, extra = SEARCHES[name]
    module, factory, _ = NETWORKS[network]
    folder, home = out / f"{name}-{budget}-{seed}", out / f"home-{name}-{budget}-{seed}"
    home.mkdir(parents=True, exist_ok=True)
    path, load = HERE / f"{network}.py", os.getloadavg()[0]
    ended = run(
        [
            *("-m", "automl", "search", "--target", "cpu", "--budget", f"{budget}%"),
            *("--model", f"{path}:{factory}", "--weights", str(module.WEIGHTS)),
            *("--data", f"{path}:loaders"),
            *("--seed", str(seed), "--out", str(folder), "--json", *extra),
        ],
        home,
    )
    told = json.loads(ended.printed)
    before, after = told["dense"], told["compressed"]
    dense, file = judged(network, folder / "model.onnx", told["policy"]["resolution"] or 0)
    return Row(
        search=name,
        budget=budget,
        seed=seed,
        dense=dense,
        file=file,
        promised=after["predicted_seconds"] / before["predicted_seconds"],
        measured=after["measured_seconds"] / before["measured_seconds"],
        milliseconds=(1e3 * before["measured_seconds"], 1e3 * after["measured_seconds"]),
        macs=after["macs"] / before["macs"],
        size=after["bytes"] / before["bytes"],
        seconds=ended.seconds,
        cpu_seconds=ended.cpu_seconds,
        peak_mb=ended.peak_mb,
        stages=stages_of(folder / "log.jsonl"),
        detail=f"{described(told['policy'])}; {told['trials']} trials",
        load=load,
        ended=f"{datetime.now():%Y-%m-%d %H:%M}",
    )


def judged(network: str, path: Path, resolution: int) -> tuple[float, float]:
    """Percent on the test images: of the dense network and of a file."""
    module, _, score = NETWORKS[network]
    test = module.loaders()[2]
    return 100 * score(module.trained(), test), 100 * score(File(path, resolution), test)


def table(rows: list[Row]) -> str:
    """Markdown, a line each row."""
    titles = (
        *("search", "budget", "score", "drop", "ms", "promised", "measured", "MACs", "size"),
        *("s", "CPU s", "MB", "seed", "chosen"),
    )
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    return "\n".join(lines + [f"| {' | '.join(cells(row))} |" for row in rows])


def cells(row: Row) -> tuple[str, ...]:
    """Of one row, as they are printed."""
    return (
        row.search,
        f"{row.budget} %",
        f"{row.dense:.2f} -> {row.file:.2f}",
        f"{row.dense - row.file:.2f}",
        " -> ".join(f"{each:.3f}" for each in row.milliseconds),
        *(f"{share:.3f}" for share in (row.promised, row.measured, row.macs, row.size)),
        *(f"{number:.0f}" for number in (row.seconds, row.cpu_seconds, row.peak_mb)),
        str(row.seed),
        row.detail,
    )


def read(path: Path) -> list[Row]:
    """The rows that are there."""
    if not path.is_file():
        return []
    return [Row(**json.loads(text)) for text in path.read_text().splitlines()]


def main() -> None:
    """Run the searches that are asked for and not there, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--searches", nargs="+", choices=SEARCHES, default=[*SEARCHES])
    parser.add_argument("--budget", type=int, default=50, help="percent of the dense latency")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("build/trained"))
    parser.add_argument("--table", action="store_true", help="only print it")
    options = parser.parse_args()
    torch.set_num_threads(1)
    out = options.out.resolve()
    path = out / "rows.jsonl"
    for name in [] if options.table else options.searches:
        known = {(row.search, row.budget, row.seed) for row in read(path)}
        if (name, options.budget, options.seed) in known:
            continue
        row = search(name, options.budget, options.seed, out)
        with path.open("a") as file:
            file.write(json.dumps(asdict(row)) + "\n")
        print(" | ".join(cells(row)), flush=True)
    print(table(read(path)))


if __name__ == "__main__":
    main()
