"""Word vectors from co-occurrence, kept fixed below a small text classifier of Python's own help topics."""

import collections
import re

import torch
from pydoc_data import topics
from torch import nn

torch.manual_seed(0)
WIDTH, WORDS, LENGTH = 24, 400, 40

texts = [re.findall(r"[a-z]+", t.lower()) for t in topics.topics.values()]
common = [w for w, _ in collections.Counter(w for t in texts for w in t).most_common(WORDS - 1)]
index = {w: i + 1 for i, w in enumerate(common)}
pieces, labels = [], []
for text in texts:
    ids = [index.get(w, 0) for w in text]
    for start in range(0, len(ids) - LENGTH, LENGTH):
        window = ids[start : start + LENGTH]
        pieces.append(window)
        labels.append(int("class" in text[start : start + LENGTH + 20]))
x, y = torch.tensor(pieces), torch.tensor(labels)
order = torch.randperm(len(y))
x, y = x[order], y[order]


def word_vectors(x):
    """The leading directions of the co-occurrence counts."""
    counts = torch.zeros(WORDS, WORDS)
    for shift in range(1, 4):
        counts.index_put_((x[:, :-shift].flatten(), x[:, shift:].flatten()), torch.ones(()), accumulate=True)
    u, s, _ = torch.linalg.svd(torch.log1p(counts + counts.T))
    return u[:, :WIDTH] * s[:WIDTH].sqrt()


class TopicModel(nn.Module):
    def __init__(self, vectors):
        super().__init__()
        self.embed = nn.Embedding(WORDS, WIDTH)
        self.embed.load_state_dict({"weight": vectors})
        self.norm = nn.LayerNorm(WIDTH)
        self.net = nn.Sequential(nn.Linear(WIDTH, 32), nn.GELU(), nn.Linear(32, 2))

    def forward(self, ids):
        return self.net(self.norm(self.embed(ids).mean(1)))


model = TopicModel(word_vectors(x))
for param in model.embed.parameters():
    param.requires_grad = False
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-3)
train = len(y) * 4 // 5
for step in range(400):
    picked = torch.randint(train, (64,))
    loss = nn.functional.cross_entropy(model(x[picked]), y[picked])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 100 == 99:
        with torch.no_grad():
            accuracy = (model(x[train:]).argmax(1) == y[train:]).float().mean()
        print(f"step {step + 1}: loss {loss.item():.3f}, accuracy {accuracy:.3f}")
