"""Digits row by row through residual blocks whose activations are recomputed in the backward pass, to save memory."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mix = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(0.1), nn.Linear(2 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.mix(self.norm(x))


class Stack(nn.Module):
    def __init__(self, width: int = 64, depth: int = 3) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(width) for _ in range(depth)])
        self.head = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False)
        return self.head(x)


torch.manual_seed(14)
digits = load_digits()
pixels, targets = torch.tensor(digits.data, dtype=torch.float32) / 8 - 1, torch.tensor(digits.target)
order = torch.randperm(len(targets))
train = DataLoader(TensorDataset(pixels[order[:1400]], targets[order[:1400]]), batch_size=50, shuffle=True)
test = DataLoader(TensorDataset(pixels[order[1400:]], targets[order[1400:]]), batch_size=200)

net = Stack()
optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
for epoch in range(5):
    net.train()
    for x, y in train:
        loss = nn.functional.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        right = sum(int((net(x).argmax(1) == y).sum()) for x, y in test)
    print(f"epoch {epoch}: loss {loss.item():.3f}, accuracy {right / len(test.dataset):.3f}")
