"""The rows of bench_zoo.py as Markdown: one line a network, and what they come to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

Row = dict[str, Any]
#: Reasons that a line of the table names, and letters of its texts.
_REASONS, _LETTERS = 2, 110
_TITLES = (
    *("network", "MACs, M", "fvcore", "channels", "blocks", "bits", "half", "T-P", "s"),
    "left alone, or why it is not read",
)
_HEAD = f"| {' | '.join(_TITLES)} |\n|---|{'---:|' * 8}---|"


def write_table(rows: Sequence[Row]) -> str:
    """A summary, then the networks in the order of their families."""
    latest = {(row["stage"], row["network"]): row for row in rows}
    reads = [row for (stage, _), row in latest.items() if stage == "read"]
    others = {name: row for (stage, name), row in latest.items() if stage == "tp"}
    reads.sort(key=lambda row: str(row["family"]))
    lines = [_line(row, others.get(row["network"], {})) for row in reads]
    return "\n".join([*_summary(reads, others), "", _HEAD, *lines])


def _summary(reads: Sequence[Row], others: dict[str, Row]) -> list[str]:
    known = [row for row in reads if row["read"] == "yes"]
    popular = [row for row in reads if not row["network"].startswith("own:")]
    policies = [policy for row in known for policy in row["policies"]]
    apart = [policy["difference"] for policy in policies if policy["difference"] is not None]
    seconds = [row["seconds"] for row in known]
    both = [
        (row["half"], others[row["network"]]["half"])
        for row in known
        if others.get(row["network"], {}).get("half") is not None
    ]
    by_fvcore = [(row["macs"], row["fvcore"]) for row in known if row.get("fvcore")]
    lines = [
        f"- Read: {sum(row['read'] == 'yes' for row in popular)} of {len(popular)} from packages, "
        f"{len(known) - sum(row['read'] == 'yes' for row in popular)} of "
        f"{len(reads) - len(popular)} forms of models; refused in one line: "
        f"{_count(reads, 'refused')}; ended otherwise: "
        f"{len(reads) - len(known) - _count(reads, 'refused')}.",
        f"- {len(policies)} random policies in double: at most {max(apart, default=0):.1g} of the "
        f"output's scale from the masked network; {len(policies) - len(apart)} of another shape.",
        f"- MACs off by over 1 % of the counted: {sum(map(_is_off, known))} networks; of fvcore's, "
        f"where it knows all operators ({len(by_fvcore)} networks): "
        f"{sum(_apart(*both) for both in by_fvcore)}.",
        f"- Reading: median {median(seconds):.1f} s, most {max(seconds):.1f} s.",
    ]
    if both:
        lines.append(
            f"- All widths halved, where Torch-Pruning's network runs ({len(both)} networks): less "
            f"is left by us on {sum(ours < theirs - 0.005 for ours, theirs in both)}, the same on "
            f"{sum(abs(ours - theirs) <= 0.005 for ours, theirs in both)}, more on "
            f"{sum(ours > theirs + 0.005 for ours, theirs in both)}."
        )
    return lines


def _count(rows: Iterable[Row], how: str) -> int:
    return sum(row["read"] == how for row in rows)


def _is_off(row: Row) -> bool:
    pairs = [(row["macs"], row["counted"])]
    pairs += [(each["foretold"], each["counted"]) for each in row["policies"]]
    return any(counted and _apart(own, counted) for own, counted in pairs)


def _apart(own: float, counted: float) -> bool:
    return abs(own - counted) > 0.01 * counted


def _line(row: Row, other: Row) -> str:
    name = row["network"].replace("|", "/")
    if row["read"] != "yes":
        why = f"**{row['read']}**: {_short(row['why'])}"
        return f"| {name} | | | | | | | {_share(other.get('half'))} | | {why} |"
    shares = [_share(row[key]) for key in ("channels_share", "blocks_share", "bits_share", "half")]
    reasons = [f"{count} {_short(reason)}" for reason, count in row["unprunable"][:_REASONS]]
    cells = (
        *(
            name,
            f"{row['macs'] / 1e6:.4g}",
            _million(row.get("fvcore")),
            *shares,
            _share(other.get("half")),
        ),
        *(f"{row['seconds']:.1f}", "; ".join(reasons)),
    )
    return f"| {' | '.join(cells)} |"


def _million(macs: float | None) -> str:
    return "" if macs is None else f"{macs / 1e6:.4g}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.0f} %"


def _short(text: str) -> str:
    line = " ".join(text.replace("|", "/").split()).removeprefix("its channels are ")
    return line if len(line) <= _LETTERS else f"{line[: _LETTERS - 1]}…"
