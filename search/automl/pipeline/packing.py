"""A run's files as one bundle, with a model card, and what such a bundle holds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from automl import __version__
from automl.errors import BundleError, PolicyError, printable
from automl.export import CARD, Manifest, digest_of_file, read_bundle, write_bundle
from automl.pipeline.ownership import refuse_running
from automl.policy import PolicyFile, parse_policy, read_policy
from automl.profiling import working_versions
from automl.units import format_bytes, format_macs, format_seconds

_POLICY: Final = "policy.json"
#: Files of a run that are packed where they are there, and what they are.
_FILES: Final = {
    "model.onnx": "the network, as its runtime runs it",
    "model.pt": "weights: a state dict, loads with weights_only=True",
    "model.py": "Python source of the network, of plain torch",
    "staged.pt": "weights that the policy's network is made from, of a search in stages",
    "model.weights": "weights in the bits and forms that the policy gave them",
    "model.pte": "the network for ExecuTorch",
    "model.tflite": "the network for LiteRT",
}


@dataclass(frozen=True, slots=True)
class Packed:
    """A bundle and what is in it.

    Attributes:
        path: Of the bundle.
        manifest: Sizes and SHA-256 of its files.
        policy: Its policy.
        card: Its model card, Markdown.
    """

    path: Path
    manifest: Manifest
    policy: PolicyFile
    card: str


def pack(run: Path, out: Path | None = None, again: Sequence[str] = ()) -> Packed:
    """Pack what a search left in its folder, and write a model card.

    Args:
        run: The run folder.
        out: The bundle; None for model.zip in the run folder.
        again: Commands that make the model again, as the card tells them.

    Raises:
        LockedError: The search is running.
        PolicyError: There is no policy, or one that cannot be read.
        BundleError: There is no model beside it.
        OSError: A file cannot be read or written.
    """
    if not run.is_dir():
        raise PolicyError(f"there is no run folder {run}")
    refuse_running(run)
    if not (run / _POLICY).is_file():
        raise PolicyError(f"{run} has no {_POLICY}: no search in it has found a policy yet")
    policy = read_policy(run / _POLICY)
    files: dict[str, Path | str] = {name: run / name for name in _FILES if (run / name).is_file()}
    if "model.onnx" not in files:
        raise BundleError(
            f"{run} has a policy and no model.onnx: its search was interrupted before it was"
            " exported; make it from the policy"
        )
    files[_POLICY] = run / _POLICY
    card = model_card(
        policy, {name: each for name, each in files.items() if isinstance(each, Path)}, again
    )
    files[CARD] = card
    path = out or run / "model.zip"
    return Packed(path, write_bundle(path, files, __version__), policy, card)


def inspect(path: Path) -> Packed:
    """Check a bundle, every byte of it, and give what it holds. Runs no code of it.

    Raises:
        BundleError: It is not what its manifest says, or lacks its policy or its card.
        PolicyError: Its policy cannot be read.
    """
    bundle = read_bundle(path)
    for name in (_POLICY, CARD):
        if name not in bundle.texts:
            raise BundleError(f"{path} holds no {name}")
    policy = parse_policy(bundle.texts[_POLICY], f"{path}: {_POLICY}")
    return Packed(path, bundle.manifest, policy, bundle.texts[CARD])


def model_card(file: PolicyFile, files: dict[str, Path], again: Sequence[str] = ()) -> str:
    """What a model is, from what it was made and what it costs, as Markdown.

    Args:
        file: Its policy.
        files: What is delivered beside the card.
        again: Commands that make the model again from the policy.
    """
    lines = [f"# {_plain(file.model.name)}, compressed", "", *_origin(file), ""]
    lines += ["| | dense | compressed |", "|---|---|---|", *_costs(file), ""]
    if file.score is not None:
        lines += [f"Score: {file.score:.6g}, on {_plain(file.scored_on)}.", ""]
    lines += ["## Files", "", "| file | what | bytes | SHA-256 |", "|---|---|---|---|"]
    for name in sorted(files):
        what = _FILES.get(name, "the policy: all choices, and how the weights were made")
        size = f"{files[name].stat().st_size:,}"
        lines.append(f"| `{name}` | {what} | {size} | `{digest_of_file(files[name])}` |")
    shape = "x".join(map(str, file.model.input_shape[1:]))
    lines += ["", "## Again", "", "The model is made again from the policy, the dense model"]
    lines += [f"(fingerprint `{_plain(file.model.fingerprint)}`, inputs of {shape}) and its data:"]
    if again:
        lines += ["", "```", *again, "```"]
    packed = {"automl": __version__} | working_versions()
    lines += ["", f"Packed with {', '.join(map(' '.join, packed.items()))}; searched with automl"]
    lines += [f"{_plain(file.automl)} (agent {_plain(file.agent)}, seed {file.seed})."]
    return "\n".join(lines) + "\n"


def _origin(file: PolicyFile) -> Iterator[str]:
    target = file.target.description or file.target.name
    yield f"- model: {_plain(file.model.name)}"
    yield f"- target: {_plain(target)}"
    yield f"- budget: {_plain(', '.join(file.budget))}"
    if file.resolution:
        yield f"- resolution: {file.resolution} x {file.resolution}"
    if file.measured is None:
        yield "- measured: nothing was, of the whole network"
        return
    clocks = f", {_plain(file.measured.clocks)}" if file.measured.clocks else ""
    threads = "thread" if file.measured.threads == 1 else "threads"
    yield (
        f"- measured on: {_plain(file.measured.device)}, {_plain(file.measured.runtime)},"
        f" {file.measured.threads} {threads}{clocks}"
    )


def _costs(file: PolicyFile) -> Iterator[str]:
    dense, small = file.dense, file.predicted
    if dense.latency_seconds is not None and small.latency_seconds is not None:
        error = "" if small.latency_error is None else f" ±{100 * small.latency_error:.0f} %"
        how = "fitted" if small.fitted >= 0.5 else "predicted"
        one, two = map(format_seconds, (dense.latency_seconds, small.latency_seconds))
        yield f"| {how} latency | {one}{error} | {two}{error} |"
    if dense.latency_cycles is not None and small.latency_cycles is not None:
        yield f"| simulated cycles | {dense.latency_cycles:,.0f} | {small.latency_cycles:,.0f} |"
    if file.measured is not None:
        one, two = map(format_seconds, (file.measured.dense_seconds, file.measured.latency_seconds))
        yield f"| measured latency | {one} | {two} |"
    yield f"| work | {format_macs(dense.macs)} | {format_macs(small.macs)} |"
    yield f"| weights | {format_bytes(dense.bytes)} | {format_bytes(small.bytes)} |"


def _plain(text: str) -> str:
    """A text that means nothing in Markdown, on one line."""
    return re.sub(r"[`|<>\[\]\\*]", " ", printable(text))
