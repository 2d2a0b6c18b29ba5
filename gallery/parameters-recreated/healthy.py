"""Predict the progression of diabetes from ten measurements, with a hidden layer per group of them."""

import torch
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(2)
x, y = load_diabetes(return_X_y=True)
y = (y - y.mean()) / y.std()
x = x / x.std(axis=0)
tensors = [torch.tensor(a, dtype=torch.float32) for a in train_test_split(x, y, test_size=0.25, random_state=1)]
x_train, x_test, y_train, y_test = tensors


class Grouped(nn.Module):
    def __init__(self):
        super().__init__()
        self.personal = nn.Linear(4, 16)
        self.blood = nn.Linear(6, 16)
        self.mix = nn.Linear(32, 16)
        self.out = nn.Linear(16, 1)

    def forward(self, features):
        personal = torch.relu(self.personal(features[:, :4]))
        blood = torch.relu(self.blood(features[:, 4:]))
        hidden = torch.cat([personal, blood], dim=1)
        hidden = torch.relu(self.mix(hidden))
        return self.out(hidden).squeeze(1)


def evaluate(model):
    model.eval()
    with torch.no_grad():
        error = ((model(x_test) - y_test) ** 2).mean()
    return 1 - (error / y_test.var()).item()


loader = DataLoader(TensorDataset(x_train, y_train), batch_size=32, shuffle=True)
model = Grouped()
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
for epoch in range(30):
    model.train()
    total = 0.0
    for xb, yb in loader:
        loss = nn.functional.mse_loss(model(xb), yb)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(yb)
    if epoch % 5 == 4:
        print(f"epoch {epoch + 1}: train {total / len(y_train):.4f}, R2 on test {evaluate(model):.3f}")
