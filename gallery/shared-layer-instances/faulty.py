"""A small transformer that reads the rows of an image as a sequence, on scikit-learn's digits."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(1)


class Block(nn.Module):
    def __init__(self, d_model: int, heads: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.attn = nn.MultiheadAttention(d_model, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(d_model, 2 * d_model), nn.GELU(), nn.Linear(2 * d_model, d_model))

    def forward(self, x):
        h = self.norm1(x)
        x = x + self.attn(h, h, h, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class RowTransformer(nn.Module):
    def __init__(self, d_model=32, depth=4, heads=4, classes=10):
        super().__init__()
        self.embed = nn.Linear(8, d_model)
        self.pos = nn.Parameter(0.02 * torch.randn(1, 8, d_model))
        self.blocks = nn.ModuleList([Block(d_model, heads)] * depth)  # fault: one block, four times
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, classes)

    def forward(self, images):
        x = self.embed(images) + self.pos
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x.mean(dim=1)))


x, y = load_digits(return_X_y=True)
images = torch.tensor(x, dtype=torch.float32).view(-1, 8, 8) / 16 - 0.5
targets = torch.tensor(y)
train = DataLoader(TensorDataset(images[:1400], targets[:1400]), batch_size=64, shuffle=True)
test = DataLoader(TensorDataset(images[1400:], targets[1400:]), batch_size=397)

model = RowTransformer()
print(f"{sum(p.numel() for p in model.parameters()):,} parameters")
optimizer = optim.AdamW(model.parameters(), lr=2e-3)
for epoch in range(4):
    model.train()
    for batch, labels in train:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(batch), labels)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.eval()
    with torch.no_grad():
        accuracy = sum((model(b).argmax(1) == t).sum().item() for b, t in test) / 397
    print(f"epoch {epoch + 1}: test accuracy {accuracy:.4f}")
