"""Lottery tickets: magnitude pruning with masks, rewound to early weights, on digits."""
import copy
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(17)


class LeNet300(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(64, 120)
        self.fc2 = nn.Linear(120, 60)
        self.fc3 = nn.Linear(60, 10)

    def forward(self, x):
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return self.fc3(x)


def loaders():
    d = load_digits()
    x = torch.tensor(d.data / 16.0, dtype=torch.float32)
    y = torch.tensor(d.target)
    p = torch.randperm(len(x))
    x, y = x[p], y[p]
    return (DataLoader(TensorDataset(x[:1400], y[:1400]), 64, shuffle=True),
            DataLoader(TensorDataset(x[1400:], y[1400:]), 200))


def apply_mask(model, masks):
    with torch.no_grad():
        for n, p in model.named_parameters():
            if n in masks:
                p.mul_(masks[n])


def test(model, loader):
    model.eval()
    ok = n = 0
    with torch.no_grad():
        for x, y in loader:
            ok += (model(x).argmax(1) == y).sum().item()
            n += len(y)
    return ok / n


def train(model, masks, train_loader, epochs):
    opt = torch.optim.Adam(model.parameters(), lr=2e-3)
    for ep in range(epochs):
        model.train()
        for x, y in train_loader:
            opt.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            for n, p in model.named_parameters():
                if n in masks:
                    p.grad.mul_(masks[n])
            opt.step()
            apply_mask(model, masks)


def prune(model, masks, fraction):
    for n, p in model.named_parameters():
        if n in masks:
            alive = p.detach()[masks[n].bool()].abs()
            thr = torch.quantile(alive, fraction)
            masks[n] = ((p.detach().abs() > thr) & masks[n].bool()).float()
    return masks


train_loader, test_loader = loaders()
model = LeNet300()
init = copy.deepcopy(model.state_dict())
masks = {n: torch.ones_like(p) for n, p in model.named_parameters() if n.endswith("weight")}
for rnd in range(4):
    train(model, masks, train_loader, epochs=8)
    kept = sum(m.sum() for m in masks.values()) / sum(m.numel() for m in masks.values())
    print(f"round {rnd} kept {kept:.1%} test {test(model, test_loader):.4f}")
    # rewind to the initial weights with the surviving connections only
    masks = prune(model, masks, 0.4)
    model.load_state_dict(init)
    apply_mask(model, masks)
