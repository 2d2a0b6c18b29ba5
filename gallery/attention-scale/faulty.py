"""Associative recall: the value that followed a key earlier in the sequence, found by attention."""
import math

import torch
from torch import nn, optim

KEYS, VALUES, PAIRS = 60, 8, 16


def episodes(count):
    """PAIRS of (key, value), then one of the keys again; the target is its value."""
    keys = torch.stack([torch.randperm(KEYS)[:PAIRS] for _ in range(count)])
    values = torch.randint(VALUES, (count, PAIRS))
    asked = torch.randint(PAIRS, (count,))
    query = keys[torch.arange(count), asked]
    return keys, values, query, values[torch.arange(count), asked]


class DotAttention(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.wq = nn.Linear(dim, dim, bias=False)
        self.wk = nn.Linear(dim, dim, bias=False)
        self.wv = nn.Linear(dim, dim, bias=False)
        self.dim = dim

    def forward(self, query, memory):
        scores = torch.einsum("bqd,bkd->bqk", self.wq(query), self.wk(memory))
        weights = torch.softmax(scores, dim=-1)  # fault: the scores are not divided by sqrt(dim)
        return torch.einsum("bqk,bkd->bqd", weights, self.wv(memory))


class Recall(nn.Module):
    def __init__(self, dim=256):
        super().__init__()
        self.key = nn.Embedding(KEYS, dim)
        self.value = nn.Embedding(VALUES, dim)
        self.attention = DotAttention(dim)
        self.read_out = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, VALUES))

    def forward(self, keys, values, query):
        memory = self.key(keys) + self.value(values)
        return self.read_out(self.attention(self.key(query).unsqueeze(1), memory).squeeze(1))


def main(iterations=90):
    torch.manual_seed(8)
    model = Recall()
    optimizer = optim.Adam(model.parameters(), lr=4e-4)
    criterion = nn.CrossEntropyLoss()
    for iteration in range(1, iterations + 1):
        keys, values, query, target = episodes(64)
        loss = criterion(model(keys, values, query), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if iteration % 30 == 0:
            with torch.no_grad():
                keys, values, query, target = episodes(500)
                hits = (model(keys, values, query).argmax(-1) == target).float().mean()
            print(f"iteration {iteration}: loss {loss.item():.3f}, accuracy {hits:.3f} (chance {1 / VALUES:.3f})")


if __name__ == "__main__":
    main()
