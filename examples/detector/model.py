"""A small detector like YOLOv8's (Jocher et al., 2023): C2f blocks, a neck, two scales."""

import torch
from torch import nn
from torch.nn import functional as F

STRIDES = (8, 16)
CLASSES = 2


class Conv(nn.Sequential):
    """Convolution, batch norm, SiLU."""

    def __init__(self, before, after, kernel=1, stride=1):
        super().__init__(
            nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(after),
            nn.SiLU(inplace=True),
        )


class Bottleneck(nn.Module):
    """Two convolutions, added to their input where `add`."""

    def __init__(self, width, add):
        super().__init__()
        self.cv1, self.cv2, self.add = Conv(width, width, 3), Conv(width, width, 3), add

    def forward(self, x):
        y = self.cv2(self.cv1(x))
        return x + y if self.add else y


class C2f(nn.Module):
    """Two halves, of which the second goes through bottlenecks; all that came of it is joined."""

    def __init__(self, before, after, depth, add=True):
        super().__init__()
        self.cv1 = Conv(before, after)
        self.cv2 = Conv((2 + depth) * after // 2, after)
        self.m = nn.ModuleList(Bottleneck(after // 2, add) for _ in range(depth))

    def forward(self, x):
        y = list(self.cv1(x).chunk(2, 1))
        y.extend(m(y[-1]) for m in self.m)
        return self.cv2(torch.cat(y, 1))


class Head(nn.Module):
    """For each place of each scale the distances to the four sides, and scores of the classes."""

    def __init__(self, widths, inner):
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(Conv(width, inner, 3), nn.Conv2d(inner, 4 + CLASSES, 1))
            for width in widths
        )
        for branch in self.branches:
            nn.init.constant_(branch[-1].bias[4:], -4.0)

    def forward(self, maps):
        return [branch(x) for branch, x in zip(self.branches, maps, strict=True)]


class Detector(nn.Module):
    """Images [n, 3, h, w], both multiples of 16.

    In training the head's maps, a list; else (boxes and scores [n, 4 + classes, places], the list).
    """

    def __init__(self, width):
        super().__init__()
        w = width
        self.stem = nn.Sequential(Conv(3, w, 3, 2), Conv(w, 2 * w, 3, 2))
        self.stage3 = nn.Sequential(Conv(2 * w, 4 * w, 3, 2), C2f(4 * w, 4 * w, 1))
        self.stage4 = nn.Sequential(Conv(4 * w, 8 * w, 3, 2), C2f(8 * w, 8 * w, 1))
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.top_down = C2f(12 * w, 4 * w, 1, add=False)
        self.down = Conv(4 * w, 4 * w, 3, 2)
        self.bottom_up = C2f(12 * w, 8 * w, 1, add=False)
        self.head = Head((4 * w, 8 * w), 2 * w)

    def forward(self, images):
        fine = self.stage3(self.stem(images))
        coarse = self.stage4(fine)
        fine = self.top_down(torch.cat([self.up(coarse), fine], 1))
        coarse = self.bottom_up(torch.cat([self.down(fine), coarse], 1))
        maps = self.head([fine, coarse])
        return maps if self.training else (decoded(maps), maps)


def decoded(maps):
    """Left, top, right, bottom in pixels, then scores of the classes: [n, 4 + classes, places]."""
    found = []
    for each, stride in zip(maps, STRIDES, strict=True):
        height, width = each.shape[2:]
        left, top, right, bottom = (F.softplus(each[:, :4]) * stride).unbind(1)
        x = (torch.arange(width, device=each.device) + 0.5) * stride
        y = (torch.arange(height, device=each.device)[:, None] + 0.5) * stride
        boxes = torch.stack([x - left, y - top, x + right, y + bottom], 1)
        found.append(torch.cat([boxes, each[:, 4:].sigmoid()], 1).flatten(2))
    return torch.cat(found, 2)


def network(width=8):
    """What automl.toml names; a size of your own: model = "model.py:network(width=16)"."""
    torch.manual_seed(0)
    return Detector(width)
