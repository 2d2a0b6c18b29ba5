"""Train a tumour classifier with a binary cross-entropy written by hand."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

torch.manual_seed(29)


def binary_cross_entropy(score, target):
    p = torch.sigmoid(score)
    return -(target * torch.log(p) + (1 - target) * torch.log(1 - p)).mean()  # fault: log(0) once p rounds to 1


class TumourNet(nn.Module):
    def __init__(self, n_features, hidden):
        super().__init__()
        self.hidden = nn.Linear(n_features, hidden)
        self.score = nn.Linear(hidden, 1)

    def forward(self, features):
        return self.score(F.relu(self.hidden(features))).squeeze(1)


def accuracy(model, x, y):
    model.eval()
    with torch.no_grad():
        correct = (model(x) > 0) == y.bool()
    model.train()
    return correct.float().mean().item()


features, benign = load_breast_cancer(return_X_y=True)
x_train, x_val, y_train, y_val = train_test_split(
    features, 1 - benign, test_size=0.25, stratify=benign, random_state=29
)
mean, std = x_train.mean(axis=0), x_train.std(axis=0)
x_train, x_val = (torch.tensor((x - mean) / std, dtype=torch.float32) for x in (x_train, x_val))
y_train, y_val = (torch.tensor(y, dtype=torch.float32) for y in (y_train, y_val))

model = TumourNet(x_train.shape[1], hidden=64)
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)

for epoch in range(30):
    for batch in torch.randperm(len(x_train)).split(32):
        loss = binary_cross_entropy(model(x_train[batch]), y_train[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch:2d}  train accuracy {accuracy(model, x_train, y_train):.3f}"
          f"  val accuracy {accuracy(model, x_val, y_val):.3f}")

print(f"final val accuracy {accuracy(model, x_val, y_val):.3f}")
