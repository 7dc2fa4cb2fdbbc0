"""Rows of the scoreboard: each importance at half of all channels, raw, made up for, and refitted.

`raw` leaves the weights that stay as they are, `updated` makes up for what goes as it goes, and
`refit` is the whole finishing step. `over_obs`, `over_random` and `over_l1` are the refitted error
over those of obs, of a drawn order and of L1. At half of the channels every raw network errs by
more than the variance of the logits: there is nothing left to rank. Papers that show criteria
without training remove few channels at a time, and so `few_over_l1` is the raw error without an
eighth of each group's channels over that of L1.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import torch
from scored import Bench, Check, Figures, Row
from wide_chain import trained

from automl.compression import (
    IMPORTANCES,
    CompressionConfig,
    Compressor,
    FeatureStore,
    Labelled,
    build_database,
)
from automl.compression.importance.particles import Particles
from automl.network import trace_network
from automl.policy import Policy


@cache
def store(bench: Bench) -> tuple[FeatureStore, Compressor]:
    """What all rows of a network and seed share: features, and statistics of channels."""
    features = FeatureStore()
    images = Labelled(bench.images, bench.labels)
    config = CompressionConfig(seed=bench.seed)
    return features, Compressor(bench.traced, images, {}, config=config, features=features)


@cache
def without(bench: Bench, name: str, share: float) -> float:
    """The raw error without a share of the channels of every group."""
    groups = bench.traced.network.groups
    counts = {group.name: group.channels - int(group.channels * share) for group in groups}
    raw = build_database(
        store(bench)[1].statistics,
        {group: (count,) for group, count in counts.items()},
        IMPORTANCES.build(name),
        compensation=False,
    )
    return bench.error(raw.candidate(Policy(channels=counts)))


@cache
def halved(bench: Bench, name: str) -> Figures:
    """Errors with half of the channels of every group."""
    features, base = store(bench)
    policy = bench.halved()
    counts = {group: (count,) for group, count in policy.channels.items()}
    importance = IMPORTANCES.build(name)
    raw = build_database(base.statistics, counts, importance, compensation=False)
    updated = build_database(base.statistics, counts, importance)
    made = Compressor(
        bench.traced,
        bench.images,
        counts,
        config=CompressionConfig(importance=name, seed=bench.seed),
        orders={group: entry.elimination for group, entry in updated.entries.items()},
        features=features,
    )
    return {
        "raw": bench.error(raw.candidate(policy)),
        "updated": bench.error(updated.candidate(policy)),
        "refit": bench.error(made.make(policy)),
    }


def compared(bench: Bench, name: str) -> Figures:
    """The same beside obs, a drawn order and L1."""
    found, obs = halved(bench, name), halved(bench, "obs")
    drawn, l1 = halved(bench, "random"), halved(bench, "l1")
    return {
        **found,
        "over_obs": found["refit"] / obs["refit"],
        "over_random": found["refit"] / drawn["refit"],
        "over_l1": found["refit"] / l1["refit"],
        "raw_over_l1": found["raw"] / l1["raw"],
        "few_over_l1": without(bench, name, 1 / 8) / without(bench, "l1", 1 / 8),
    }


def beside_thinet(bench: Bench, name: str) -> Figures:
    """The same, and the raw error without three tenths of the channels over that of thinet."""
    beside = without(bench, name, 0.3) / without(bench, "thinet", 0.3)
    return {**compared(bench, name), "raw_over_thinet": beside}


def beside_drawn(bench: Bench, name: str) -> Figures:
    """The same, and over the best of as many drawn orders as particles are looked at."""
    usual = Particles()
    drawn = halved(bench, f"random:tries={usual.particles * usual.rounds}")
    found = compared(bench, name)
    ratios = {f"{each}_over_tries": found[each] / drawn[each] for each in ("raw", "refit")}
    return {**found, **ratios}


def on_a_wide_chain(bench: Bench, name: str) -> Figures:
    """The same, and without an eighth and half of a wide chain's channels over L1, unrefitted.

    Both make up for what goes in their own way: L1 in none.
    """
    model, images, right = trained(bench.seed)
    traced = trace_network(model, (1, 3, 16, 16), resolutions=())
    made = Compressor(traced, images[:1000], {}, config=CompressionConfig(seed=bench.seed))
    with torch.no_grad():
        dense = traced.model(images[1000:])

    def error(importance: str, share: float, *, compensation: bool) -> float:
        groups = traced.network.groups
        counts = {each.name: each.channels - int(each.channels * share) for each in groups}
        database = build_database(
            made.statistics,
            {group: (count,) for group, count in counts.items()},
            IMPORTANCES.build(importance),
            compensation=compensation,
        )
        with torch.no_grad():
            found = database.candidate(Policy(counts))(images[1000:])
        return float((found - dense).square().mean() / dense.var(0).mean())

    figures = {"wide_accuracy": right}
    for part, share in (("eighth", 1 / 8), ("half", 1 / 2)):
        own = error(name, share, compensation=True)
        figures[f"wide_{part}"] = own
        figures[f"wide_{part}_over_l1"] = own / error("l1", share, compensation=False)
    return {**compared(bench, name), **figures}


def row(name: str, expects: str, *checks: Check, compare: Callable[..., Figures] = compared) -> Row:
    """A row of an importance."""
    run: Callable[[Bench], Figures] = partial(compare, name=name)
    method = name.partition(":")[0]
    return Row(f"half-{name}", f"importances/{method}", expects, run, checks)


BELOW_RANDOM, BELOW_L1 = Check("over_random", at_most=1.0), Check("few_over_l1", at_most=1.0)
ABOUT_OBS = "raw better than L1, an eighth of the channels gone; after the refit within 0.3 of OBS"
ROWS = (
    row("obs", "below a drawn order, raw better than L1", BELOW_RANDOM, BELOW_L1),
    row("l1", "after the refit within half of OBS's error more", Check("over_obs", at_most=1.5)),
    row("l2", "after the refit within half of OBS's error more", Check("over_obs", at_most=1.5)),
    row("fpgm", "after the refit within half of OBS's error more", Check("over_obs", at_most=1.5)),
    row("bn-scale", "after the refit no worse than L1 by a fifth", Check("over_obs", at_most=1.8)),
    row("apoz", "after the refit between a drawn order and OBS", BELOW_RANDOM),
    row("activation", "after the refit between a drawn order and OBS", BELOW_RANDOM),
    row("entropy", "after the refit between a drawn order and OBS", BELOW_RANDOM),
    row("taylor", ABOUT_OBS, BELOW_L1, Check("over_obs", at_most=1.3)),
    row("fisher", ABOUT_OBS, BELOW_L1, Check("over_obs", at_most=1.3)),
    row(
        "dcp",
        "raw no worse than ThiNet with 30 % of the channels gone, better than L1 with an eighth",
        BELOW_L1,
        Check("raw_over_thinet", at_most=1.0),
        compare=beside_thinet,
    ),
    row("lda", "no worse than a drawn order", BELOW_RANDOM),
    row("inbound", "after the refit within 0.3 of OBS", Check("over_obs", at_most=1.3)),
    row("correlation", "between a drawn order and OBS", BELOW_RANDOM),
    row("obd", "raw better than L1, an eighth of the channels gone", BELOW_L1),
    row("thinet", "after the refit within 10 % of OBS", Check("over_obs", at_most=1.1)),
    row("lasso", "after the refit within 10 % of OBS", Check("over_obs", at_most=1.1)),
    row("energy", "at equal joules (equal channels) below L1's", Check("over_l1", at_most=1.0)),
    row(
        "merge",
        "beats L1 without refit on a wide chain, an eighth gone; refitted below a drawn order",
        Check("wide_eighth_over_l1", at_most=1.0),
        BELOW_RANDOM,
        compare=on_a_wide_chain,
    ),
    row("random", "the honest floor", Check("over_random", at_most=1.0)),
    row("random:tries=20", "after the refit better than one drawn order", BELOW_RANDOM),
    row(
        "particles",
        "after the refit no worse than the best of as many drawn orders",
        Check("refit_over_tries", at_most=1.0),
        compare=beside_drawn,
    ),
)
