"""Centripetal SGD: filters of a cluster become equal, and are merged without any loss."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from automl.recovery.base import Hook, HookPlan, Moment
from automl.recovery.channels import ChannelPart, CoupledChannels, checked_share, planned_channels

Tensor = torch.Tensor


class Centripetal(Hook):
    """Filters drawn to the mean of their cluster, then merged (Ding et al., 2019).

    Filters of a cluster share one gradient, their mean, and what is between them shrinks; when it
    is gone, one of them stays and its readers' weights are the sums. Differs: clusters are balls
    around filters that are farthest from each other with norms folded, over all layers that write a
    channel; what is between them shrinks by the same length each step and is gone at `until`.

    Args:
        share: Of each group's channels that are merged away.
        until: Share of the training after which filters of a cluster are equal.
    """

    leaves = "channels"
    acts_on = "channels"

    def __init__(self, share: float = 0.3, until: float = 0.7) -> None:
        self._share = checked_share("share of centripetal", share)
        self._until = checked_share("until of centripetal", until)
        self._groups: tuple[CoupledChannels, ...] = ()
        self._clusters: list[Tensor] = []
        self._left = 1.0

    def start(self, model: nn.Module, plan: HookPlan) -> None:
        """Find clusters."""
        self._groups = planned_channels("centripetal", model, plan)
        self._clusters = [self._clustered(model, group) for group in self._groups]

    @torch.no_grad()
    def before_step(self, model: nn.Module, moment: Moment) -> None:
        """Filters of a cluster have one gradient."""
        for group, cluster in zip(self._groups, self._clusters, strict=True):
            for part in _written(group):
                rows = part.gradient_rows(model)
                if rows is not None:
                    part.write_gradient(model, _means(rows, cluster))

    def after_step(self, model: nn.Module, moment: Moment) -> None:
        """What is between them shrinks."""
        left = max(0.0, 1 - moment.share / self._until)
        self._draw(model, left / self._left if self._left else 0.0, statistics=not left)
        self._left = left

    def finish(self, model: nn.Module) -> str:
        """Make them equal, and have the first of each cluster alone be read."""
        early = f", {self._left:.0%} of what was between them left" if self._left else ""
        self._draw(model, 0.0, statistics=True)
        merged = 0
        for group, cluster in zip(self._groups, self._clusters, strict=True):
            firsts = torch.tensor(
                [int((cluster == each).nonzero()[0]) for each in range(int(cluster.max()) + 1)]
            )
            gone = torch.ones(group.count, dtype=torch.bool)
            gone[firsts] = False
            merged += int(gone.sum())
            _sum_readers(model, group, cluster, firsts)
            group.zero(model, gone)
        of = sum(group.count for group in self._groups)
        return f"centripetal: {merged} of {of} channels are merged into others{early}"

    def state(self) -> dict[str, Any]:
        """Clusters, and how much is left between their filters."""
        return {"clusters": self._clusters, "left": self._left}

    def restore(self, state: dict[str, Any]) -> None:
        """Become what `state` said."""
        self._clusters, self._left = state["clusters"], state["left"]

    def _clustered(self, model: nn.Module, group: CoupledChannels) -> Tensor:
        """Of each channel the number of its cluster."""
        rows = torch.cat([each.cpu().double() for each in group.folded(model)], 1)
        count = group.count - min(math.floor(group.count * self._share + 1e-9), group.count - 1)
        centres = [int(rows.norm(dim=1).argmax())]
        distances = (rows - rows[centres[0]]).norm(dim=1)
        while len(centres) < count:
            distances[centres] = -1.0
            centres.append(int(distances.argmax()))
            distances = torch.minimum(distances, (rows - rows[centres[-1]]).norm(dim=1))
        found = torch.cdist(rows, rows[centres]).argmin(1)
        found[centres] = torch.arange(count)
        return found

    @torch.no_grad()
    def _draw(self, model: nn.Module, factor: float, *, statistics: bool) -> None:
        for group, cluster in zip(self._groups, self._clusters, strict=True):
            for part in (*_written(group), *(group.statistics if statistics else ())):
                rows = part.rows(model)
                means = _means(rows, cluster)
                part.write(model, means + (rows - means) * factor if factor else means)


def _written(group: CoupledChannels) -> tuple[ChannelPart, ...]:
    return (*group.weights, *group.scales)


def _means(rows: Tensor, cluster: Tensor) -> Tensor:
    """Each row the mean of its cluster's: [channels, numbers]."""
    cluster = cluster.to(rows.device)
    count = int(cluster.max()) + 1
    sums = rows.new_zeros(count, rows.shape[1]).index_add(0, cluster, rows)
    sizes = torch.bincount(cluster, minlength=count).to(rows)
    return (sums / sizes[:, None])[cluster]


@torch.no_grad()
def _sum_readers(model: nn.Module, group: CoupledChannels, cluster: Tensor, firsts: Tensor) -> None:
    """What reads a cluster reads its first one, by the sum of its weights."""
    for part in group.readers:
        rows = part.rows(model)
        sums = rows.new_zeros(len(firsts), rows.shape[1])
        sums = sums.index_add(0, cluster.to(rows.device), rows)
        rows[firsts.to(rows.device)] = sums
        part.write(model, rows)
