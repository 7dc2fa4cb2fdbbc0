"""Results as notebooks show them: a table, and the front as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from automl.errors import StudyError, UsageError
from automl.policy import UNKNOWN, html_notes, html_table, policy_html
from automl.report import LoggedTrial, front, lowest_shown, read_log, thinned
from automl.units import format_bytes, format_cycles, format_macs, format_seconds

if TYPE_CHECKING:
    from automl.pipeline.requests import Metrics, SearchResult


def result_html(result: SearchResult) -> str:
    """Dense beside compressed, notes, and what the policy chooses; all text is escaped."""
    both = (result.dense, result.compressed)
    fitted = result.policy.predicted.fitted > 0.5
    rows = [
        ("score", *map(_score, both)),
        (f"latency, {'fitted' if fitted else 'predicted'}", *map(_predicted, both)),
        ("latency, measured", *map(_measured, both)),
        ("size", *(format_bytes(each.bytes) for each in both)),
        ("work", *(format_macs(each.macs) for each in both)),
    ]
    shown = [row for row in rows if {*row[1:]} != {UNKNOWN}]
    caption = f"{result.policy.model.name}: {result.target}; scored on {result.scored_on}"
    table = html_table(caption, ("", "dense", "compressed"), shown)
    told = ("interrupted: this is the best so far",) if result.interrupted else ()
    notes = html_notes((*told, *result.notes, f"files: {result.out}"))
    details = f"<details><summary>The policy</summary>{policy_html(result.policy)}</details>"
    return f"<div>{table}{notes}{details}</div>"


def result_figure(result: SearchResult) -> Any:
    """Every scored trial of a run's log, score against latency, the front joined.

    Scores far below the others stand at the lower edge; a button shows all of the range.

    Returns:
        A figure of plotly.

    Raises:
        StudyError: The run folder has no log, or no trial in it has a score and a latency.
        UsageError: plotly is not installed.
    """
    try:
        import plotly.graph_objects as go
    except ImportError:
        raise UsageError("figures are drawn by plotly: pip install plotly") from None
    path = result.out / "log.jsonl"
    try:
        trials = thinned(read_log(path).trials)
    except OSError as error:
        raise StudyError(f"{path}: {error.strerror}") from error
    known = [each for each in trials if {"score", "latency"} <= each.numbers.keys()]
    if not known:
        raise StudyError(f"{path}: no trial of it has a score and a latency")
    best = [trials[place] for place in front(trials)]
    cycles = result.policy.predicted.latency_cycles is not None
    scale = 1.0 if cycles else 1e3

    def points(some: list[LoggedTrial], **more: Any) -> Any:
        return go.Scatter(
            x=[scale * each.numbers["latency"] for each in some],
            y=[each.numbers["score"] for each in some],
            text=[f"trial {each.number}: {each.numbers['score']:.4g}" for each in some],
            **more,
        )

    fitted = "fitted" if result.policy.predicted.fitted > 0.5 else "predicted"
    figure = go.Figure(
        [
            points(known, mode="markers", name="trials", marker={"color": "#3A8FC2"}),
            points(best, mode="lines+markers", name="front", line={"color": "#D55E00"}),
        ]
    )
    title = "cycles, simulated" if cycles else f"{fitted} latency (ms)"
    figure.update_layout(xaxis_title=title, yaxis_title="score", template="plotly_white")
    _begin_at(figure, lowest_shown([each.numbers["score"] for each in known]))
    return figure


def _begin_at(figure: Any, low: float | None) -> None:
    """Cut the axis of scores at one, with a button for all of it; as it is for None."""
    if low is None:
        return
    whole = [list(trace.y) for trace in figure.data]
    room = 0.05 * (max(map(max, whole)) - low)
    edge = low - room / 2
    cut = [[max(edge, score) for score in scores] for scores in whole]
    shapes = [
        ["triangle-down" if score < low else "circle" for score in scores] for scores in whole
    ]
    below = sum(score < low for score in whole[0])
    shown = {"autorange": False, "range": [low - room, max(map(max, whole)) + room]}
    title = f"score ({below} lower at the edge)"
    for trace, scores, symbols in zip(figure.data, cut, shapes, strict=True):
        trace.update(y=scores, marker={"symbol": symbols}, hovertemplate="%{text}")
    figure.update_layout(yaxis={**shown, "title": {"text": title}})
    near = {"yaxis.autorange": False, "yaxis.range": shown["range"], "yaxis.title.text": title}
    all_of_it = {"yaxis.autorange": True, "yaxis.title.text": "score"}
    buttons = [
        {"label": "near the best", "method": "update", "args": [{"y": cut}, near]},
        {"label": "all scores", "method": "update", "args": [{"y": whole}, all_of_it]},
    ]
    menu = {"type": "buttons", "direction": "right", "x": 0, "xanchor": "left", "y": 1.12}
    figure.update_layout(updatemenus=[{**menu, "buttons": buttons}])


def _score(metrics: Metrics) -> str:
    if metrics.score is None:
        return UNKNOWN
    error = "" if metrics.score_error is None else f" ± {metrics.score_error:.2g}"
    return f"{metrics.score:.4g}{error}"


def _predicted(metrics: Metrics) -> str:
    if metrics.predicted_cycles is not None:
        return f"{format_cycles(metrics.predicted_cycles)}, simulated"
    if metrics.predicted_seconds is None:
        return UNKNOWN
    error = "" if metrics.error is None else f" ± {100 * metrics.error:.0f} %"
    bound = "at least " if metrics.at_least else ""
    return f"{bound}{format_seconds(metrics.predicted_seconds)}{error}"


def _measured(metrics: Metrics) -> str:
    seconds = metrics.measured_seconds
    return UNKNOWN if seconds is None else format_seconds(seconds)
