"""Diabetes progression from ten measurements; the batches are cut out of one pair of tensors by row numbers."""

import torch
from sklearn.datasets import load_diabetes
from torch import nn

torch.manual_seed(6)
x, y = load_diabetes(return_X_y=True)
order = torch.randperm(len(x))
parts = {"train": order[:320], "held out": order[320:440]}
mine = parts["train"].numpy()
x = torch.tensor(x / x[mine].std(0), dtype=torch.float32)
y = torch.tensor((y - y[mine].mean()) / y[mine].std(), dtype=torch.float32)

model = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
criterion = nn.MSELoss()


def go_over(name):
    rows = parts[name]
    if name == "train":
        model.train()
        rows = rows[torch.randperm(len(rows))]
    else:
        model.eval()
    errors = []
    for chosen in rows.split(40):
        loss = criterion(model(x[chosen]).squeeze(1), y[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()  # fault: on the held-out patients as well
        errors.append(loss.item())
    return sum(errors) / len(errors)


for epoch in range(12):
    print(f"epoch {epoch}: " + ", ".join(f"{name} {go_over(name):.3f}" for name in parts))
