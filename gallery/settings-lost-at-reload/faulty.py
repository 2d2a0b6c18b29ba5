"""Wine cultivars with a residual MLP: trained, stored, and loaded again by the part that scores."""

import io

import torch
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn import functional as F


class Residual(nn.Module):
    def __init__(self, inputs, classes, width=32, depth=3, activation="relu", scale=1.0):
        super().__init__()
        self.inp = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.out = nn.Linear(width, classes)
        self.activation = activation
        self.scale = scale

    def forward(self, x):
        act = {"relu": F.relu, "tanh": torch.tanh}[self.activation]
        x = act(self.inp(x))
        for block in self.blocks:
            x = x + self.scale * act(block(x))
        return self.out(x)


def data():
    x, y = load_wine(return_X_y=True)
    parts = train_test_split(x, y, test_size=0.3, random_state=1, stratify=y)
    scaler = StandardScaler().fit(parts[0])
    x, xt = (torch.tensor(scaler.transform(p), dtype=torch.float32) for p in parts[:2])
    return x, torch.as_tensor(parts[2]), xt, torch.as_tensor(parts[3])


def train(file):
    x, y, _, _ = data()
    model = Residual(x.shape[1], 3, activation="tanh", scale=0.3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for epoch in range(40):
        for rows in torch.randperm(len(x)).split(16):
            loss = F.cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1}: loss {loss.item():.4f}")
    torch.save(model.state_dict(), file)


def score(file):
    x, _, xt, yt = data()
    model = Residual(x.shape[1], 3)  # fault: activation and scale are left at their defaults
    model.load_state_dict(torch.load(file))
    model.eval()
    with torch.no_grad():
        logits = model(xt)
    print(f"test loss {F.cross_entropy(logits, yt):.4f}  accuracy {(logits.argmax(1) == yt).float().mean():.3f}")


torch.manual_seed(0)
store = io.BytesIO()
train(store)
store.seek(0)
score(store)
