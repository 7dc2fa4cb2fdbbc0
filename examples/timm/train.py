"""Fine-tune the network on photos/ and write weights.pt; draws pictures if there are none.

`python train.py --pretrained` starts from timm's weights, which timm downloads.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from model import network
from PIL import Image
from torch.nn import functional as F

SIZE, EPOCHS, BATCH = 64, 6, 20
#: What automl.toml asks for as well, behind the question mark of `data`.
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
PHOTOS = Path("photos")


def draw():
    """Pictures of two kinds: stripes that lie and stripes that stand."""
    drawn = np.random.default_rng(0)
    for part, count in (("train", 100), ("val", 40), ("test", 100)):
        for kind in ("lying", "standing"):
            folder = PHOTOS / part / kind
            folder.mkdir(parents=True)
            for number in range(count):
                waves = np.sin(np.arange(80) * drawn.uniform(0.3, 0.9) + drawn.uniform(0, 6))
                picture = np.broadcast_to(waves[:, None, None], (80, 80, 3))
                picture = picture if kind == "lying" else picture.transpose(1, 0, 2)
                colour = drawn.uniform(20, 70, 3)
                pixels = 128 + colour * picture + drawn.normal(0, 50, (80, 80, 3))
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.jpg")


def read(part):
    """Pictures [n, 3, SIZE, SIZE] as the search gives them to the model, and classes [n]."""
    pictures, classes = [], []
    for label, kind in enumerate(sorted((PHOTOS / part).iterdir())):
        for path in sorted(kind.iterdir()):
            with Image.open(path) as picture:
                pixels = np.asarray(picture.convert("RGB").resize((SIZE, SIZE), Image.BILINEAR))
            pictures.append((torch.from_numpy(pixels.copy()) / 255 - MEAN) / STD)
            classes.append(label)
    return torch.stack(pictures).permute(0, 3, 1, 2).contiguous(), torch.tensor(classes)


if not PHOTOS.exists():
    draw()
torch.manual_seed(0)
images, classes = read("train")
model = network(pretrained="--pretrained" in sys.argv).train()
optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
for _ in range(EPOCHS):
    for rows in torch.randperm(len(images)).split(BATCH):
        loss = F.cross_entropy(model(images[rows]), classes[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
images, classes = read("val")
with torch.no_grad():
    right = (model.eval()(images).argmax(1) == classes).float().mean()
torch.save(model.state_dict(), "weights.pt")
print(f"weights.pt: right on {right:.1%} of {len(classes)} pictures that it did not see")
