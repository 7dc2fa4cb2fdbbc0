"""Rows of the scoreboard: half of the pieces of maxout units.

A maxout network of features, trained in seconds (`maxouts`). Figures are accuracies in per cent:
`dense`, then with half of the pieces gone, refitted or, with `raw_`, not. `lost` is what `wins`
loses, `over_random` how far it is above pieces that are drawn.
"""

from __future__ import annotations

from maxouts import accuracy, data, trained
from scored import Bench, Check, Figures, Row

from automl.compression import CompressionConfig, Compressor
from automl.network import trace_network
from automl.policy import Policy

_HALF = Policy({"one#2": 4, "two#2": 4})


def maxout_wins(bench: Bench) -> Figures:
    """Half of the pieces gone by their wins, by the length of their filters, and by chance."""
    model = trained(bench.seed)
    traced, inputs = trace_network(model, (1, 8)), data(512, 3)[0]
    figures = {"dense": accuracy(model)}
    for name in ("wins", "l1", "random"):
        config = CompressionConfig(importance=name, seed=bench.seed)
        made = Compressor(traced, inputs, dict.fromkeys(_HALF.channels, (4,)), config=config)
        figures[name] = accuracy(made.make(_HALF))
        figures[f"raw_{name}"] = accuracy(made.make(_HALF, finish=False))
    return {
        **figures,
        "lost": figures["dense"] - figures["wins"],
        "over_random": figures["wins"] - figures["random"],
    }


ROWS = (
    Row(
        "maxout-wins",
        "importances/wins",
        "half of the pieces gone at equal accuracy",
        maxout_wins,
        (Check("lost", at_most=0.1), Check("over_random", at_least=0.0)),
        networks=("maxout",),
    ),
)
