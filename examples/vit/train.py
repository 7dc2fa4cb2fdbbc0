"""Train the transformer and write weights.pt: half a minute of one core."""

import torch
from data import loaders
from model import network
from torch.nn import functional as F

EPOCHS, BATCH = 25, 50

torch.manual_seed(0)
training, validation, _ = loaders()
images = torch.cat([inputs for inputs, _ in training])
classes = torch.cat([targets for _, targets in training])
model = network()
optimizer = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=0.05)
steps = EPOCHS * -(-len(images) // BATCH)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
for _ in range(EPOCHS):
    for rows in torch.randperm(len(images)).split(BATCH):
        flipped = images[rows].flip(3) if torch.rand(()) < 0.5 else images[rows]
        loss = F.cross_entropy(model(flipped), classes[rows], label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
model.eval()
with torch.no_grad():
    right = sum(int((model(x).argmax(1) == y).sum()) for x, y in validation)
    count = sum(len(y) for _, y in validation)
torch.save(model.state_dict(), "weights.pt")
print(f"weights.pt: right on {right / count:.1%} of {count:,} images that it did not see")
