"""Tell breast tumours apart with a small network whose rows of weights are standardised."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_breast_cancer
from torch import nn

torch.manual_seed(17)
x, y = load_breast_cancer(return_X_y=True)
x, y = torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)
order = torch.randperm(len(x))
train, test = order[:420], order[420:]
x = (x - x[train].mean(0)) / x[train].std(0)


class StandardLinear(nn.Linear):
    def forward(self, x):
        std, mean = torch.std_mean(self.weight, dim=1, keepdim=True)
        with torch.no_grad():
            self.weight.copy_((self.weight - mean) / (std * self.in_features**0.5 + 1e-5))  # fault: written past the gradient
        return F.linear(x, self.weight, self.bias)


model = nn.Sequential(StandardLinear(30, 24), nn.SiLU(), StandardLinear(24, 24), nn.SiLU(), nn.Linear(24, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
for epoch in range(15):
    for rows in train[torch.randperm(len(train))].split(42):
        loss = F.binary_cross_entropy_with_logits(model(x[rows]).squeeze(1), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        right = ((model(x[test]).squeeze(1) > 0) == (y[test] > 0.5)).float().mean()
    print(f"epoch {epoch}: loss {loss.item():.4f}, right {right:.3f}")
