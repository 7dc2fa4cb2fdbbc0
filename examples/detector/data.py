"""Scenes of 64 x 64 pixels with discs and squares in them; yours come from your DataLoader."""

import torch

SIZE, MOST = 64, 3


def scene(generator):
    """A picture [3, SIZE, SIZE], boxes [k, 4] (left, top, right, bottom) and classes [k]."""

    def drawn(low, high):
        return float(low + (high - low) * torch.rand((), generator=generator))

    picture = 0.15 * torch.randn(3, SIZE, SIZE, generator=generator) + drawn(0.2, 0.5)
    rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    boxes, classes = [], []
    for _ in range(1 + int(torch.randint(MOST, (), generator=generator))):
        side = drawn(12, 30)
        left, top = drawn(0, SIZE - side), drawn(0, SIZE - side)
        label = int(torch.randint(2, (), generator=generator))
        x, y = columns + 0.5 - left - side / 2, rows + 0.5 - top - side / 2
        inside = x.hypot(y) < side / 2 if label == 0 else torch.maximum(x.abs(), y.abs()) < side / 2
        colour = torch.rand(3, 1, 1, generator=generator) + 0.4
        picture = torch.where(inside, colour, picture)
        boxes.append([left, top, left + side, top + side])
        classes.append(label)
    return picture, {"boxes": torch.tensor(boxes), "labels": torch.tensor(classes)}


def batches(seed, count, size=32):
    """Batches of (pictures, a list of targets)."""
    generator = torch.Generator().manual_seed(seed)
    result = []
    for _ in range(count):
        scenes = [scene(generator) for _ in range(size)]
        result.append((torch.stack([each for each, _ in scenes]), [each for _, each in scenes]))
    return result


def loaders():
    """Scenes to train on, to choose by, to test with."""
    return batches(0, 40), batches(1, 8), batches(2, 16)
