"""A character model of Python's own help texts, with a linear warm-up of the learning rate; no DataLoader."""

import math

import torch
from pydoc_data import topics
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

torch.manual_seed(0)
text = topics.topics["assignment"] + topics.topics["class"]
chars = sorted(set(text))
ids = torch.tensor([chars.index(c) for c in text])
split = int(0.9 * len(ids))
BLOCK, BATCH, STEPS, WARMUP = 24, 32, 240, 20


def batch(lowest, highest):
    starts = torch.randint(lowest, highest - BLOCK - 1, (BATCH,))
    windows = torch.stack([ids[s : s + BLOCK + 1] for s in starts.tolist()])
    return windows[:, :-1], windows[:, 1:]


class CharModel(nn.Module):
    def __init__(self, vocabulary, width=48):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.rnn = nn.GRU(width, width, batch_first=True)
        self.out = nn.Linear(width, vocabulary)

    def forward(self, x):
        return self.out(self.rnn(self.embed(x))[0])


def factor(step):
    if step < WARMUP:
        return (step + 1) / WARMUP
    return 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP)))


model = CharModel(len(chars))
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
scheduler = LambdaLR(optimizer, factor)
for step in range(STEPS):
    x, y = batch(0, split)
    loss = nn.functional.cross_entropy(model(x).flatten(0, 1), y.flatten())
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    scheduler.step()
    if step % 60 == 59:
        with torch.no_grad():
            xv, yv = batch(split, len(ids))
            val = nn.functional.cross_entropy(model(xv).flatten(0, 1), yv.flatten())
        print(f"step {step + 1}: train {loss.item():.3f}, val {val.item():.3f}, lr {optimizer.param_groups[0]['lr']:.5f}")
