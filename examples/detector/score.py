"""What candidates are judged by: mean average precision at an overlap of one half."""

import torch
from model import CLASSES


def overlaps(first, second):
    """Intersection over union of boxes [a, 4] and [b, 4]: [a, b]."""
    low = torch.maximum(first[:, None, :2], second[:, :2])
    high = torch.minimum(first[:, None, 2:], second[:, 2:])
    both = (high - low).clamp_min(0).prod(-1)
    one, other = ((each[:, 2:] - each[:, :2]).prod(-1) for each in (first, second))
    return both / (one[:, None] + other - both).clamp_min(1e-9)


def kept(found, least=0.02, most=30):
    """Of one picture's [4 + classes, places] the boxes that no better one of their class covers."""
    scores, classes = found[4:].max(0)
    order = scores.argsort(descending=True, stable=True)[:most]
    order = order[scores[order] > least]
    boxes, scores, classes = found[:4, order].T, scores[order], classes[order]
    covers = (overlaps(boxes, boxes) > 0.6) & (classes[:, None] == classes)
    rows = []
    for place in range(len(order)):
        if not covers[place, rows].any():
            rows.append(place)
    return boxes[rows], scores[rows], classes[rows]


def average_precision(found, targets, label):
    """Area under precision over recall of one class."""
    hits, objects = [], 0
    for (boxes, scores, classes), target in zip(found, targets, strict=True):
        true = target["boxes"][target["labels"] == label]
        objects += len(true)
        free = torch.ones(len(true), dtype=torch.bool)
        for place in (classes == label).nonzero()[:, 0].tolist():
            shared = overlaps(boxes[place : place + 1], true)[0] * free
            hit = len(true) > 0 and float(shared.max()) >= 0.5
            if hit:
                free[int(shared.argmax())] = False
            hits.append((float(scores[place]), hit))
    hits.sort(key=lambda each: -each[0])
    right = torch.tensor([hit for _, hit in hits], dtype=torch.float64).cumsum(0)
    if not len(right):
        return 0.0
    precision = (right / torch.arange(1, len(right) + 1)).flip(0).cummax(0).values.flip(0)
    return float((right.diff(prepend=right.new_zeros(1)) * precision).sum()) / max(1, objects)


@torch.no_grad()
def map50(model, batches):
    """Mean over the classes; larger is better, 1 is all found and nothing else."""
    found, targets = [], []
    for pictures, truth in batches:
        found += [kept(each) for each in model(pictures)[0]]
        targets += truth
    return sum(average_precision(found, targets, label) for label in range(CLASSES)) / CLASSES
