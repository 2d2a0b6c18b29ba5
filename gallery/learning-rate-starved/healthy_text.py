"""Separate English prose from Python code with a one-block transformer over characters."""

import inspect
import zipfile

import torch
import torch.nn as nn
import torch.nn.functional as F
from pydoc_data.topics import topics
from torch.utils.data import DataLoader, TensorDataset, random_split

SEED = 2
LENGTH = 32
PER_CLASS = 900
LR = 1e-3
WARMUP_STEPS = 20
EPOCHS = 5


def rows_of(text):
    text = " ".join(text.split()).encode("ascii", "replace")
    usable = len(text) // LENGTH * LENGTH
    return torch.frombuffer(bytearray(text[:usable]), dtype=torch.uint8).view(-1, LENGTH).unique(dim=0)


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        n, t, d = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(q, k, v)
        return self.proj(out.transpose(1, 2).reshape(n, t, d))


class Transformer(nn.Module):
    def __init__(self, dim=32, heads=2):
        super().__init__()
        self.tokens = nn.Embedding(128, dim)
        self.positions = nn.Embedding(LENGTH, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.attention = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.head = nn.Linear(dim, 2)

    def forward(self, ids):
        x = self.tokens(ids) + self.positions(torch.arange(ids.size(1)))
        x = x + self.attention(self.norm1(x))
        x = x + self.mlp(self.norm2(x))
        return self.head(x.mean(dim=1))


def warmup(step):
    """Linear warm-up to the full learning rate, then constant."""
    return min(1.0, (step + 1) / WARMUP_STEPS)


def main():
    torch.manual_seed(SEED)
    code = rows_of(inspect.getsource(zipfile))
    prose = rows_of(topics["specialnames"])
    code, prose = code[torch.randperm(len(code))[:PER_CLASS]], prose[torch.randperm(len(prose))[:PER_CLASS]]
    dataset = TensorDataset(torch.cat([code, prose]).long(), torch.arange(2).repeat_interleave(PER_CLASS))
    train_set, val_set = random_split(dataset, [0.8, 0.2])
    loader = DataLoader(train_set, batch_size=40, shuffle=True)

    model = Transformer()
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, warmup)
    val_ids, val_labels = (torch.stack(column) for column in zip(*val_set))

    for epoch in range(EPOCHS):
        model.train()
        total = 0.0
        for ids, labels in loader:
            loss = F.cross_entropy(model(ids), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            total += loss.item() * len(labels)
        model.eval()
        with torch.no_grad():
            accuracy = (model(val_ids).argmax(1) == val_labels).float().mean().item()
        print(f"epoch {epoch + 1}: train loss {total / len(train_set):.4f}, val accuracy {accuracy:.4f}")
    print(f"final val accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main()
