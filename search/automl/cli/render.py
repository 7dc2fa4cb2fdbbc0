"""What the command prints: tables within 80 columns, bars, and JSON."""

from __future__ import annotations

import io
import json
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from automl.cli.manner import manner
from automl.cli.terminal import hint
from automl.cli.terminal import say as say  # one import for commands
from automl.errors import printable
from automl.pipeline import Metrics
from automl.policy import DENSE, Bits, format_bits
from automl.units import format_bytes, format_cycles, format_joules, format_macs, format_seconds

if TYPE_CHECKING:
    from automl.pipeline import SearchResult, StageCost
    from automl.policy import PolicyFile

WIDTH: Final = 80
#: Columns that a name keeps at least where it is folded.
_FOLDED: Final = 10
_BAR: Final = 24
#: Layers of one precision that are named, and not counted.
_NAMED: Final = 4
#: Kinds of layers together: as of blocks, those are listed that are changed.
_TOGETHER: Final = ("merge", "alternative")
#: What stands before a latency or an energy that some operator has no price in.
_AT_LEAST: Final = "at least "
_NOT_JSON: Final = ("model",)


def print_json(value: Any) -> None:
    """Print one JSON document on stdout. Seconds, bytes and MACs as they are inside."""
    say(json.dumps(to_json(value), indent=2, allow_nan=False))


def to_json(value: Any) -> Any:
    """Plain JSON values of results and policy files; numbers that are not known are null."""
    if hasattr(value, "model_dump"):
        return to_json(value.model_dump(mode="json"))
    if is_dataclass(value):
        names = [each.name for each in fields(value) if each.name not in _NOT_JSON]
        return {name: to_json(getattr(value, name)) for name in names}
    if isinstance(value, dict):
        return {str(key): to_json(each) for key, each in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(to_json(each) for each in value)
    if isinstance(value, list | tuple):
        return [to_json(each) for each in value]
    if isinstance(value, float) and not isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def say_next(command: str) -> None:
    """The last line of a command: what to type next."""
    hint(f"\nNext: {command}")


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> None:
    """A table within `WIDTH` columns on stdout; all but the first `left` columns to the right.

    Where that is too narrow, names are folded before figures are, the first of them last.
    """
    listed = [header, *([_cell(each) for each in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*listed, strict=True)]
    # A border on each side, and three signs between two columns.
    room = WIDTH - 2 - 3 * (len(widths) - 1) - sum(widths[left:])
    figures_fit = room >= _FOLDED * left
    first_fits = room - widths[0] >= _FOLDED * (left - 1)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for position, title in enumerate(header):
        justify: Any = "left" if position < left else "right"
        whole = first_fits if position == 0 else position >= left and figures_fit
        table.add_column(title, justify=justify, overflow="fold", no_wrap=whole)
    for row in listed[1:]:
        table.add_row(*row)
    drawn = io.StringIO()
    Console(file=drawn, width=WIDTH, markup=False, highlight=False, emoji=False).print(table)
    say(drawn.getvalue(), end="")


def _cell(text: str) -> str:
    """What stands in a cell: what a terminal would obey is counted as it is shown."""
    return "\n".join(map(printable, text.split("\n")))


def print_metrics(dense: Metrics, compressed: Metrics, score_name: str) -> None:
    """Dense beside compressed; rows of which nothing is known are left out."""
    bound = _AT_LEAST * compressed.at_least
    rows = [
        _score_row(dense.score, compressed.score, score_name),
        _cost_row(
            "predicted latency",
            dense.predicted_seconds,
            compressed.predicted_seconds,
            lambda seconds: bound + format_seconds(seconds) + _error(compressed.error),
        ),
        _cost_row(
            "simulated latency",
            dense.predicted_cycles,
            compressed.predicted_cycles,
            lambda cycles: bound + format_cycles(cycles) + _error(compressed.error),
        ),
        _cost_row(
            "measured latency", dense.measured_seconds, compressed.measured_seconds, format_seconds
        ),
        _cost_row("work", dense.macs, compressed.macs, format_macs),
        _cost_row("counted by fvcore", dense.counted_macs, compressed.counted_macs, format_macs),
        _cost_row("size", dense.bytes, compressed.bytes, format_bytes),
        _cost_row(
            "predicted energy",
            dense.joules,
            compressed.joules,
            lambda joules: bound + format_joules(joules),
        ),
    ]
    print_table(("", "dense", "compressed", "change"), [row for row in rows if row])


def _error(relative: float | None) -> str:
    return "" if relative is None else f" ±{100 * relative:.0f} %"


def _score_row(dense: float | None, compressed: float | None, name: str) -> list[str]:
    from automl.userdata import ACCURACY_NAME, PSNR

    if dense is None or compressed is None:
        return []
    difference = compressed - dense
    if name == ACCURACY_NAME:
        shares = [f"{100 * share:.2f} %" for share in (dense, compressed)]
        return ["accuracy", *shares, f"{100 * difference:+.2f} points"]
    if name == PSNR:
        return ["PSNR", f"{dense:.2f} dB", f"{compressed:.2f} dB", f"{difference:+.2f} dB"]
    return ["score", f"{dense:.4g}", f"{compressed:.4g}", f"{difference:+.4g}"]


def _cost_row(
    title: str, dense: float | None, compressed: float | None, written: Callable[[float], str]
) -> list[str]:
    if dense is None or compressed is None or not isfinite(dense) or not isfinite(compressed):
        return []
    change = f"x {compressed / dense:.3f}" if dense else ""
    return [title, written(dense), written(compressed), change]


def print_stages(stages: Sequence[StageCost]) -> None:
    """What each stage of a second or more took, and the most memory until its end."""
    shown = [each for each in stages if each.seconds >= 1.0]
    rows = [(each.name, f"{each.seconds:.0f} s", _memory(each.peak_bytes)) for each in shown]
    if rows and not manner().quiet:
        print_table(("stage", "time", "peak memory"), rows)


def _memory(peak: int | None) -> str:
    return "" if peak is None else format_bytes(peak)


def print_front(results: Sequence[SearchResult]) -> None:
    """One row a budget, the dense network last."""
    rows: list[list[str]] = []
    named = [(" and ".join(result.policy.budget), result.compressed) for result in results]
    for name, metrics in [*named, ("dense", results[0].dense)]:
        predicted, measured = metrics.predicted_seconds, metrics.measured_seconds
        rows.append(
            [
                name,
                "-" if metrics.score is None else f"{metrics.score:.4f}",
                latency_text(predicted, metrics.predicted_cycles, metrics.at_least),
                "-" if measured is None else format_seconds(measured),
                format_macs(metrics.macs),
                format_bytes(metrics.bytes),
            ]
        )
    print_table(("budget", "score", "predicted", "measured", "work", "size"), rows)
    for result in results:
        say(f"policy: {result.policy_path}")


def latency_text(seconds: float | None, cycles: float | None, at_least: bool = False) -> str:
    """A latency for people, "-" where none is known; `at_least` where an operator has no price."""
    bound = _AT_LEAST * at_least
    if seconds is None:
        return "-" if cycles is None else bound + format_cycles(cycles)
    return bound + format_seconds(seconds)


def print_prediction_error(metrics: Metrics) -> None:
    """How far the prediction was from what was measured, where there are both."""
    if metrics.predicted_seconds is None or metrics.measured_seconds is None:
        return
    error = metrics.predicted_seconds / metrics.measured_seconds - 1.0
    if metrics.at_least:
        say("the prediction is without operators that have no price")
        return
    say(f"the prediction is {100 * error:+.1f} % from the measurement")


def print_policy(file: PolicyFile) -> None:
    """What the policy keeps of each group, as bars; what it leaves out; what it costs."""
    say(f"{file.model.name} for {file.target.name}, budget {' and '.join(file.budget)}")
    if file.target.description:
        say(file.target.description)
    say(f"found by {file.agent} with seed {file.seed}, automl {file.automl}")
    if file.resolution:
        say(f"resolution {file.resolution}")
    rows = [_bar_row(name, group.kept, group.dense, file) for name, group in file.channels.items()]
    named = {row[0] for row in rows if row[2] == _LEFT_OUT}
    for block in file.removed:
        if not any(name.startswith(f"{block}.") for name in named):
            rows.append((block, "", _LEFT_OUT))
    if rows:
        print_table(("channels", "kept", ""), rows, left=2)
    bits = {
        name: format_bits(Bits(each.weights, each.activations)) for name, each in file.bits.items()
    }
    for line in _option_lines(bits, file):
        say(line)
    for kind, options in file.further.items():
        for line in _option_lines(options, file, without=DENSE if kind in _TOGETHER else ""):
            say(line)
    if file.removed:
        say(f"blocks left out: {', '.join(file.removed)}")
    if file.score is not None:
        say(f"score {file.score:.4g} on {file.scored_on}")
    say(_prediction(file))


_LEFT_OUT: Final = "left out"


def _bar_row(name: str, kept: int, dense: int, file: PolicyFile) -> tuple[str, str, str]:
    if any(name == block or name.startswith(f"{block}.") for block in file.removed):
        return name, "", _LEFT_OUT
    full = round(_BAR * kept / dense)
    return name, "█" * full + "░" * (_BAR - full), f"{kept}/{dense}"


def _option_lines(options: Mapping[str, str], file: PolicyFile, without: str = "") -> list[str]:
    """Layers by their option, the most frequent first; the option `without` is not listed."""
    by_name: dict[str, list[str]] = {}
    gone = tuple(f"{block}." for block in file.removed)
    names = [name for name in options if not name.startswith(gone)] if gone else [*options]
    for name in names:
        if options[name] != without:
            by_name.setdefault(options[name], []).append(name)
    lines, column = list[str](), max(8, *map(len, by_name), 0)
    for option, layers in sorted(by_name.items(), key=lambda each: -len(each[1])):
        shown = f"{len(layers)} of {len(names)} layers"
        if len(layers) <= _NAMED:
            shown = ", ".join(layers)
        lines += textwrap.wrap(
            f"{option:<{column}} {shown}",
            WIDTH,
            subsequent_indent=" " * (column + 1),
            break_on_hyphens=False,
        )
    return lines


def _prediction(file: PolicyFile) -> str:
    cost = file.predicted
    parts = [format_macs(cost.macs), format_bytes(cost.bytes)]
    latency = latency_text(cost.latency_seconds, cost.latency_cycles, cost.at_least)
    if latency != "-":
        shares = [
            f"{100 * share:.0f} % {name}"
            for name, share in (
                ("measured", cost.measured),
                ("interpolated", cost.interpolated),
                ("fitted", cost.fitted),
            )
            if share
        ]
        latency += _error(cost.latency_error)
        parts.insert(0, f"{latency} ({', '.join(shares)})" if shares else latency)
    if cost.joules is not None:
        parts.append(_AT_LEAST * cost.at_least + format_joules(cost.joules))
    return f"predicted: {', '.join(parts)}"
