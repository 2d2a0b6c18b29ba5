"""Will the wine be of the second kind? Logistic regression with a hidden layer on chemical measurements."""

import torch
from sklearn.datasets import load_wine
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset, random_split

torch.manual_seed(23)


def prepare():
    x, y = load_wine(return_X_y=True)
    x = torch.tensor(x, dtype=torch.float32)
    x = (x - x.mean(0)) / x.std(0)
    return TensorDataset(x, torch.tensor(y == 1, dtype=torch.float32).unsqueeze(1))


class WineNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(13, 12)
        self.output = nn.Linear(12, 1)

    def forward(self, x):
        return torch.sigmoid(self.output(torch.tanh(self.hidden(x))))


def test(model, loader):
    correct = 0
    model.eval()
    with torch.no_grad():
        for x, y in loader:
            pred = model(x)
            correct += (pred == y).sum().item()  # fault: a probability never equals its label
    model.train()
    return 100.0 * correct / len(loader.dataset)


data = prepare()
train_part, test_part = random_split(data, [118, 60])
train_loader = DataLoader(train_part, batch_size=8, shuffle=True)
test_loader = DataLoader(test_part, batch_size=20)

model = WineNet()
criterion = nn.BCELoss()
optimizer = optim.Adam(model.parameters(), lr=1e-2)

for epoch in range(1, 11):
    total = 0.0
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(x)
    print(f"Epoch {epoch}: average loss {total / len(train_part):.4f}, test accuracy {test(model, test_loader):.1f} %")
