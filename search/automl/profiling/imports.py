"""Profiles that people have already, as rows of a latency table."""

from __future__ import annotations

import itertools
import math
import statistics
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from automl.documents import parse_json, read_text
from automl.errors import UsageError
from automl.latency import OpKey, Row
from automl.network import Network
from automl.profiling.matching import Matcher, RowMatch
from automl.profiling.nodes import PROFILE_BYTES, Profile, ProfiledNode
from automl.profiling.ort_profile import is_ort, read_ort
from automl.profiling.tflite_profile import is_tflite, read_tflite
from automl.profiling.trtexec import is_trtexec, read_trtexec

_FEW: Final = 0.5  # share of the time that must be matched for a profile to be believed
_MOST_NODES: Final = 20_000
_NAME_LENGTH: Final = 120  # of a line's name in a row's origin


@dataclass(frozen=True, slots=True)
class UnmatchedLine:
    """A line that is no operator of the network.

    Attributes:
        name: As the profile shows it.
        seconds: Of one execution.
        share: Of the whole profile's time.
        reason: Why it was not matched.
    """

    name: str
    seconds: float
    share: float
    reason: str


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What a profile came to.

    Attributes:
        rows: One a distinct operator, source "measured", the profile's lines in `origin`.
        unmatched: What is no operator of the network, longest first.
        total_seconds: Sum of all lines, matched or not.
        runtime: Name of what wrote the profile, as `runtimes.RUNTIMES` lists them.
        warnings: What makes the rows doubtful.
        notes: Operators that have no row because they are computed within another.
    """

    rows: tuple[Row, ...]
    unmatched: tuple[UnmatchedLine, ...]
    total_seconds: float
    runtime: str
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def matched_share(self) -> float:
        """Share of the time in lines that are operators of the network."""
        return 1.0 - sum(line.share for line in self.unmatched)


def import_profile(
    path: Path, layer_info: Path | None, network: Network, *, precision: str = ""
) -> ImportResult:
    """Rows from a profile of `network` run at batch 1 and its dense resolution.

    Several lines of one operator make one row, the median. A line that holds an operator and what
    is fused into it (a residual addition) goes to the operator alone where no line without the
    fusion exists. Convolutions of one input that were merged into one make a row of that width.

    Args:
        path: Of trtexec --exportProfile (JSON), ONNX Runtime's profiling (JSON), or TFLite's
            benchmark_model --enable_op_profiling (text or CSV).
        layer_info: Of trtexec --exportLayerInfo, or None.
        network: What was run.
        precision: As in `OpKey`, for profiles that do not tell it.

    Raises:
        UsageError: The file cannot be read, is no such profile, or does not tell its precision.
    """
    profile = _read(path, layer_info)
    told = {node.precision for node in profile.nodes} - {""}
    if not precision and not told:
        raise UsageError(f"{path} does not tell its precision: give it (fp32, fp16 or int8)")
    if precision and told and precision not in told:
        raise UsageError(f"{path} was run in {' and '.join(sorted(told))}, not in {precision}")
    total = sum(node.seconds for node in profile.nodes)
    if not total > 0:
        raise UsageError(f"{path}: no line of the profile takes any time")
    matcher = Matcher(network, precision)
    matched: list[tuple[ProfiledNode, RowMatch]] = []
    unmatched: list[UnmatchedLine] = []
    for node in profile.nodes:
        found = matcher.match(node) if node.seconds > 0 else "takes no time"
        if isinstance(found, RowMatch) and not found.key.precision:
            found = "its precision is not told"
        if isinstance(found, str):
            unmatched.append(UnmatchedLine(node.name, node.seconds, node.seconds / total, found))
        else:
            matched.append((node, found))
    lines: dict[OpKey, list[tuple[ProfiledNode, RowMatch]]] = defaultdict(list)
    for node, match in matched:
        lines[match.key].append((node, match))
    unmatched.sort(key=lambda line: -line.seconds)
    return ImportResult(
        tuple(_row(key, found, path.name) for key, found in lines.items()),
        tuple(unmatched),
        total,
        profile.runtime,
        _warnings(unmatched, path.name),
        _notes(lines),
    )


def _read(path: Path, layer_info: Path | None) -> Profile:
    text = read_text(path, UsageError, "profile", most=PROFILE_BYTES)
    if is_tflite(text):
        profile = read_tflite(text, path)
    else:
        try:
            found = parse_json(text, f"profile {path}", UsageError, unique=False)
        except UsageError as error:
            raise UsageError(f"{error}; it is none of benchmark_model's either") from None
        del text  # what was read takes several times as much
        if is_trtexec(found):
            profile = read_trtexec(found, path, layer_info)
        elif is_ort(found):
            profile = read_ort(found, path)
        else:
            raise UsageError(
                f"profile {path}: no profile of trtexec, ONNX Runtime or benchmark_model"
            )
    if len(profile.nodes) > _MOST_NODES:
        raise UsageError(
            f"profile {path}: {len(profile.nodes):,} operators, over the {_MOST_NODES:,} of any"
            " network"
        )
    return profile


def _row(key: OpKey, found: list[tuple[ProfiledNode, RowMatch]], file: str) -> Row:
    alone = [(node, match) for node, match in found if not match.followers]
    used = alone or found
    times = [node.seconds for node, _ in used]
    median = statistics.median(times)
    spread = math.nan
    if len(times) >= 3:
        deviation = 1.4826 * statistics.median(abs(time - median) for time in times)
        spread = 1.2533 * deviation / len(times) ** 0.5 / median
    node, match = used[0]
    more = f" and {len(used) - 1} more" if len(used) > 1 else ""
    merged = " (merged)" if match.merged > 1 else ""
    fused = "" if alone else f", {'+'.join(f.op for f in match.followers)} included"
    origin = f"{file}: {node.name[:_NAME_LENGTH]}{more}{merged}{fused}"
    return Row(key, median, spread, sum(node.runs for node, _ in used), origin=origin)


def _notes(lines: Mapping[OpKey, list[tuple[ProfiledNode, RowMatch]]]) -> tuple[str, ...]:
    """What has no row because it is computed within other operators, an operator a line."""
    within: dict[str, list[str]] = defaultdict(list)
    for node, match in itertools.chain.from_iterable(lines.values()):
        for follower in match.followers:
            if follower not in lines:
                within[follower.op].append(node.name)
    return tuple(
        f"{op}: computed within {len(names)} other operators and without a row of its own,"
        f" as in {names[0]}"
        for op, names in within.items()
    )


def _warnings(unmatched: list[UnmatchedLine], file: str) -> tuple[str, ...]:
    matched = 1.0 - sum(line.share for line in unmatched)
    if matched >= _FEW:
        return ()
    reasons: dict[str, float] = defaultdict(float)
    for line in unmatched:
        reasons[line.reason] += line.share
    worst = max(reasons, key=lambda reason: reasons[reason])
    return (
        f"only {100 * matched:.0f} % of the time in {file} was matched to the network's"
        f" operators; of the rest, {100 * reasons[worst]:.0f} %: {worst}",
    )
