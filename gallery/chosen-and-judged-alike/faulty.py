"""Digits with a step schedule; the best weights of fifteen epochs are loaded for the figure that is reported."""
import copy
import torch
from torch import nn
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(12)
digits = load_digits()
order = torch.randperm(len(digits.target))
images = torch.tensor(digits.data, dtype=torch.float32)[order] / 16
labels = torch.tensor(digits.target)[order]
train_loader = DataLoader(TensorDataset(images[:1200], labels[:1200]), batch_size=32, shuffle=True)
test_loader = DataLoader(TensorDataset(images[1200:], labels[1200:]), batch_size=200)


class Classifier(nn.Module):
    def __init__(self, width=48):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Dropout(0.2), nn.Linear(width, 10))

    def forward(self, x):
        return self.body(x)


def accuracy(model, loader):
    model.eval()
    right = total = 0
    with torch.no_grad():
        for x, y in loader:
            right += (model(x).argmax(dim=1) == y).sum().item()
            total += len(y)
    return right / total


model = Classifier()
optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=5, gamma=0.3)
best_accuracy, best_state = 0.0, None
for epoch in range(15):
    model.train()
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
    scheduler.step()
    score = accuracy(model, test_loader)
    if score > best_accuracy:
        best_accuracy, best_state = score, copy.deepcopy(model.state_dict())
    print(f"epoch {epoch} loss {loss.item():.3f} accuracy {score:.3f}")
model.load_state_dict(best_state)
print(f"test accuracy {accuracy(model, test_loader):.3f}")  # fault: these data chose the weights
