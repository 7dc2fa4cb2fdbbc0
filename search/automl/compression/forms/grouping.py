"""Which channels of a layer belong together: equal parts that lose least without the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

Tensor = torch.Tensor
#: Drawn orders of the outputs that are started from, beside the one that there is.
_STARTS: Final = 12
#: Exchanges of which the best are tried, and products that they may take, in all.
_CANDIDATES: Final = 8
_EXCHANGED: Final = 4e9
#: Parts of a kernel without links between them that are put into groups, at most.
_MOST_PARTS: Final = 256
#: Rounds in which inputs and outputs go where they are worth most, at most.
_ROUNDS: Final = 30


def partition(kernel: Tensor, metric: Tensor | None, groups: int) -> tuple[Tensor, Tensor]:
    """Inputs and outputs of each group: [groups, inputs of one] and [groups, outputs of one].

    A kernel that is in groups already keeps them.

    Args:
        kernel: [outputs, inputs, height, width].
        metric: [columns, columns], positive in all directions; None for that of the weights.
        groups: They divide inputs and outputs.
    """
    found = _separate((kernel != 0).flatten(2).any(2), groups)
    if found is None:
        starts = (_alternated(worth, groups) for worth in _worths(kernel, metric))
        found = max(starts, key=lambda each: _held(kernel, metric, *each))
        found = _assigned(kernel, metric, found[0])
        if metric is not None and groups > 1:
            found = _exchanged(kernel, metric, *found)
    reads, writes = found
    return _listed(reads, groups), _listed(writes, groups)


def within(kernel: Tensor, metric: Tensor | None, reads: Tensor, writes: Tensor) -> Tensor:
    """The weights of each group that are nearest: [groups, outputs, inputs, height, width].

    Args:
        kernel: [outputs, inputs, height, width].
        metric: [columns, columns]; None for that of the weights.
        reads: [groups, inputs of one].
        writes: [groups, outputs of one].
    """
    if metric is None:
        return torch.stack([kernel[own][:, read] for read, own in zip(reads, writes, strict=True)])
    taps = kernel[0, 0].numel()
    wanted = kernel.flatten(1) @ metric
    found = []
    for read, own in zip(reads, writes, strict=True):
        columns = _columns(read, taps)
        root = torch.linalg.cholesky(metric[columns][:, columns])
        solved = torch.cholesky_solve(wanted[own][:, columns].T, root).T
        found.append(solved.reshape(len(own), len(read), *kernel.shape[2:]))
    return torch.stack(found)


def _columns(channels: Tensor, taps: int) -> Tensor:
    """Places of all taps of some channels."""
    return (channels[:, None] * taps + torch.arange(taps)).flatten()


def _listed(labels: Tensor, groups: int) -> Tensor:
    """Members of each group, ascending: [groups, members]."""
    return torch.stack([(labels == group).nonzero().flatten() for group in range(groups)])


def _worths(kernel: Tensor, metric: Tensor | None) -> Iterator[Tensor]:
    """What is lost with one kernel, alone and with the others making good: [outputs, inputs]."""
    weights = kernel.flatten(2)
    if metric is None:
        yield weights.square().sum(2)
        return
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(metric))
    for whole, alone in ((metric, True), (inverse, False)):
        blocks = _blocks(whole, weights.shape[2])
        own = blocks if alone else torch.linalg.inv(blocks)
        yield torch.einsum("oct,cts,ocs->oc", weights, own, weights)


def _alternated(worth: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Labels of inputs and outputs with most worth within the groups, of several starts."""
    generator = torch.Generator().manual_seed(0)
    outputs = len(worth)
    plain = torch.arange(groups).repeat_interleave(outputs // groups)
    drawn = [plain[torch.randperm(outputs, generator=generator)] for _ in range(_STARTS)]
    found = []
    for writes in (plain, *drawn):
        most, reads = -1.0, plain
        for _ in range(_ROUNDS):
            reads = _balanced(worth.T @ _members(writes, groups))
            writes = _balanced(worth @ _members(reads, groups))
            total = float((worth * (writes[:, None] == reads)).sum())
            if total <= most * (1 + 1e-9):
                break
            most = total
        found.append((most, reads, writes))
    _, reads, writes = max(found, key=lambda each: each[0])
    return reads, writes


def _members(labels: Tensor, groups: int) -> Tensor:
    """[channels, groups], float64."""
    return torch.nn.functional.one_hot(labels, groups).double()


def _balanced(worth: Tensor) -> Tensor:
    """The group of each channel, as many in each, of most worth: from [channels, groups]."""
    channels, groups = worth.shape
    places = worth.repeat_interleave(channels // groups, 1)
    _, chosen = linear_sum_assignment(places.numpy(), maximize=True)
    return torch.from_numpy(chosen) // (channels // groups)


def _captured(kernel: Tensor, metric: Tensor | None, reads: Tensor, groups: int) -> Tensor:
    """How much of each output's energy the inputs of each group can make: [outputs, groups]."""
    if metric is None:
        return kernel.flatten(2).square().sum(2) @ _members(reads, groups)
    wanted = kernel.flatten(1) @ metric
    held = []
    for read in _listed(reads, groups):
        columns = _columns(read, kernel[0, 0].numel())
        root = torch.linalg.cholesky(metric[columns][:, columns])
        across = torch.linalg.solve_triangular(root, wanted[:, columns].T, upper=False)
        held.append(across.square().sum(0))
    return torch.stack(held, 1)


def _held(kernel: Tensor, metric: Tensor | None, reads: Tensor, writes: Tensor) -> float:
    """Of the energy, what the groups make."""
    groups = int(writes.max()) + 1
    captured = _captured(kernel, metric, reads, groups)
    return float(captured.gather(1, writes[:, None]).sum())


def _assigned(kernel: Tensor, metric: Tensor | None, reads: Tensor) -> tuple[Tensor, Tensor]:
    """The same inputs, with each output in the group that makes most of it."""
    groups = int(reads.max()) + 1
    return reads, _balanced(_captured(kernel, metric, reads, groups))


def _exchanged(
    kernel: Tensor, metric: Tensor, reads: Tensor, writes: Tensor
) -> tuple[Tensor, Tensor]:
    """Inputs of two groups change places, and outputs follow, as long as that makes more.

    What an exchange brings is told from each side alone; the most promising are tried.
    """
    inputs, groups = len(reads), int(reads.max()) + 1
    held = _held(kernel, metric, reads, writes)
    for _ in range(min(inputs, int(_EXCHANGED * groups / len(metric) ** 3))):
        joining, leaving = _sides(kernel, metric, reads, writes)
        other = joining[:, reads]  # [input, input]: what the first adds to the second's group
        promised = other + other.T - leaving[:, None] - leaving
        promised = promised.masked_fill(reads[:, None] <= reads, -torch.inf)
        for pair in promised.flatten().topk(min(_CANDIDATES, promised.numel())).indices.tolist():
            one, two = divmod(pair, inputs)
            tried = reads.clone()
            tried[one], tried[two] = reads[two], reads[one]
            _, follow = _assigned(kernel, metric, tried)
            now = _held(kernel, metric, tried, follow)
            if now > held * (1 + 1e-9):
                reads, writes, held = tried, follow, now
                break
        else:
            break
    return reads, writes


def _sides(kernel: Tensor, metric: Tensor, reads: Tensor, writes: Tensor) -> tuple[Tensor, Tensor]:
    """What each input adds to each group, [inputs, groups], and what it takes from its own."""
    groups, inputs = int(reads.max()) + 1, len(reads)
    taps = kernel[0, 0].numel()
    wanted = kernel.flatten(1) @ metric
    joining = kernel.new_zeros(inputs, groups)
    leaving = kernel.new_zeros(inputs)
    pairs = zip(_listed(reads, groups), _listed(writes, groups), strict=True)
    for group, (read, own) in enumerate(pairs):
        columns, others = (
            _columns(each, taps) for each in (read, (reads != group).nonzero()[:, 0])
        )
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(metric[columns][:, columns]))
        weights = wanted[own][:, columns] @ inverse
        blocks = torch.linalg.inv(_blocks(inverse, taps))
        parts = weights.view(len(own), -1, taps)
        leaving[read] = torch.einsum("oct,cts,ocs->c", parts, blocks, parts)
        across = metric[others][:, columns]
        left = _blocks(metric[others][:, others] - across @ inverse @ across.T, taps)
        gap = (wanted[own][:, others] - weights @ across.T).view(len(own), -1, taps)
        gains = torch.einsum("oct,cts,ocs->c", gap, torch.linalg.inv(left), gap)
        joining[reads != group, group] = gains
    return joining, leaving


def _blocks(whole: Tensor, taps: int) -> Tensor:
    """Of each channel: [channels, taps, taps]."""
    channels = len(whole) // taps
    return whole.view(channels, taps, channels, taps).diagonal(dim1=0, dim2=2).movedim(-1, 0)


def _separate(linked: Tensor, groups: int) -> tuple[Tensor, Tensor] | None:
    """Labels of inputs and outputs, where links [outputs, inputs] are within groups; else None."""
    outputs, inputs = linked.shape
    written, read = linked.nonzero(as_tuple=True)
    links = (np.ones(len(read)), (written.numpy(), outputs + read.numpy()))
    count, part = connected_components(coo_matrix(links, shape=(outputs + inputs,) * 2))
    sizes = np.zeros((count, 2), dtype=np.int64)
    np.add.at(sizes, (part, (np.arange(outputs + inputs) >= outputs).astype(int)), 1)
    both = np.flatnonzero(sizes.prod(1))
    both = both[np.argsort(-sizes[both].sum(1), kind="stable")]
    room = [[outputs // groups, inputs // groups] for _ in range(groups)]
    placed = _packed([(int(own), int(read)) for own, read in sizes[both]], room)
    if placed is None:
        return None
    label = np.full(count, -1)
    label[both] = placed
    labels = torch.from_numpy(label[part])
    return _filled(labels[outputs:], groups), _filled(labels[:outputs], groups)


def _filled(labels: Tensor, groups: int) -> Tensor:
    """Labels with those that are linked to nothing, -1, in the groups that have room."""
    room = len(labels) // groups - torch.bincount(labels[labels >= 0], minlength=groups)
    return labels.index_put((labels < 0,), torch.arange(groups).repeat_interleave(room))


def _packed(sizes: Sequence[tuple[int, int]], room: list[list[int]]) -> list[int] | None:
    """The bin of each item, the large ones first; None where they do not fit, or are too many."""
    if not sizes:
        return []
    if len(sizes) > _MOST_PARTS:
        return None
    (written, read), *others = sizes
    tried = set()
    for place, (outputs, inputs) in enumerate(room):
        if written > outputs or read > inputs or (outputs, inputs) in tried:
            continue
        tried.add((outputs, inputs))
        room[place] = [outputs - written, inputs - read]
        found = _packed(others, room)
        room[place] = [outputs, inputs]
        if found is not None:
            return [place, *found]
    return None
