"""Recognise six patterns in control charts of an industrial process with an LSTM."""
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

KINDS = ["normal", "cyclic", "rising", "falling", "step up", "step down"]
STEPS = 30


def chart(kind, rng):
    t = np.arange(STEPS)
    values = rng.normal(0.0, 1.0, STEPS)
    if kind == "cyclic":
        values += rng.uniform(1.5, 2.5) * np.sin(2 * np.pi * t / rng.uniform(6, 10))
    elif kind in ("rising", "falling"):
        slope = rng.uniform(0.08, 0.16)
        values += (slope if kind == "rising" else -slope) * t
    elif kind in ("step up", "step down"):
        height = rng.uniform(2.5, 4.0) * (1 if kind == "step up" else -1)
        values += height * (t >= rng.integers(8, 22))
    return values


def charts(n, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(KINDS), size=n)
    series = np.stack([chart(KINDS[k], rng) for k in labels])
    return torch.tensor(series / 2.0, dtype=torch.float32).unsqueeze(-1), torch.tensor(labels)


class ChartNet(nn.Module):
    def __init__(self, hidden=48):
        super().__init__()
        self.lstm = nn.LSTM(input_size=1, hidden_size=hidden, batch_first=True)
        self.fc = nn.Linear(hidden, len(KINDS))

    def forward(self, series):
        out, _ = self.lstm(series)
        return self.fc(out[:, -1])


torch.manual_seed(27)
train_loader = DataLoader(TensorDataset(*charts(1000, seed=27)), batch_size=40, shuffle=True)
val_loader = DataLoader(TensorDataset(*charts(300, seed=28)), batch_size=75)

model = ChartNet()
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

for epoch in range(10):
    model.train()
    for series, label in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(series), label)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), max_norm=2.0)
        optimizer.step()

    model.eval()
    right = 0
    with torch.no_grad():
        for series, label in val_loader:
            right += (model(series).argmax(dim=1) == label).sum().item()
    accuracy = right / len(val_loader.dataset)
    print(f"epoch {epoch:2d}  last train loss {loss.item():.3f}  val accuracy {accuracy:.3f}")

print(f"final val accuracy {accuracy:.3f}")
