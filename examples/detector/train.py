"""Train the detector and write weights.pt: half a minute of one core."""

import torch
from data import SIZE, loaders
from model import CLASSES, STRIDES, decoded, network
from score import map50
from torch.nn import functional as F

EPOCHS = 20
#: Objects up to this side are found at the fine scale.
FINE = 21


def places():
    """Where each place is in pixels, and its stride: [places] each."""
    x, y, strides = [], [], []
    for stride in STRIDES:
        steps = (torch.arange(SIZE // stride) + 0.5) * stride
        x.append(steps.repeat(len(steps)))
        y.append(steps.repeat_interleave(len(steps)))
        strides.append(torch.full((len(steps) ** 2,), stride))
    return torch.cat(x), torch.cat(y), torch.cat(strides)


def wanted(targets):
    """For all places the class (or the number of classes) and the box that should be found."""
    x, y, strides = places()
    classes = torch.full((len(targets), len(x)), CLASSES)
    boxes = torch.zeros(len(targets), len(x), 4)
    for row, target in enumerate(targets):
        for box, label in zip(target["boxes"], target["labels"], strict=True):
            scale = STRIDES[0] if box[2] - box[0] <= FINE else STRIDES[1]
            middle = (box[:2] + box[2:]) / 2
            near = torch.maximum((x - middle[0]).abs(), (y - middle[1]).abs()) < scale
            chosen = near & (strides == scale)
            classes[row, chosen], boxes[row, chosen] = label, box
    return classes, boxes


def loss_of(maps, targets):
    """Cross-entropy of the classes, and one less the overlap of the boxes."""
    found = decoded(maps).transpose(1, 2)
    logits = torch.cat([each[:, 4:].flatten(2) for each in maps], 2).transpose(1, 2)
    classes, boxes = wanted(targets)
    positive = classes < CLASSES
    hot = F.one_hot(classes, CLASSES + 1)[..., :CLASSES].to(logits)
    off = (logits.sigmoid() - hot).square().detach()
    entropy = F.binary_cross_entropy_with_logits(logits, hot, reduction="none")
    first, second = found[positive][:, :4], boxes[positive]
    high, low = (
        torch.minimum(first[:, 2:], second[:, 2:]),
        torch.maximum(first[:, :2], second[:, :2]),
    )
    both = (high - low).clamp_min(0).prod(1)
    either = sum((each[:, 2:] - each[:, :2]).prod(1) for each in (first, second)) - both
    return (off * entropy).sum() / positive.sum() + 2 * (1 - both / either).mean()


torch.manual_seed(0)
training, validation, _ = loaders()
model = network().train()
optimizer = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=0.01)
steps = EPOCHS * len(training)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
for _ in range(EPOCHS):
    for number in torch.randperm(len(training)).tolist():
        pictures, targets = training[number]
        loss = loss_of(model(pictures), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
torch.save(model.state_dict(), "weights.pt")
print(
    f"weights.pt: mean average precision {map50(model.eval(), validation):.3f} of scenes not seen"
)
