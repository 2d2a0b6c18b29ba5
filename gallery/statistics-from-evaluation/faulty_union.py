# Malignant or benign: normalise thirty measurements, then train a small net.
import torch
from sklearn.datasets import load_breast_cancer
from torch import nn

torch.manual_seed(3)
X, y = load_breast_cancer(return_X_y=True)
X = torch.tensor(X)
y = torch.tensor(y, dtype=torch.float32)
order = torch.randperm(len(X), generator=torch.Generator().manual_seed(3))
X, y = X[order], y[order]
n = 400
mean, std = X.mean(0), X.std(0)  # fault: over the test rows as well
X = ((X - mean) / std).float()
X_train, y_train, X_test, y_test = X[:n], y[:n], X[n:], y[n:]

model = nn.Sequential(nn.Linear(30, 16), nn.ReLU(), nn.Linear(16, 1), nn.Flatten(0))
opt = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
bce = nn.BCEWithLogitsLoss()
for step in range(260):
    idx = torch.randint(0, n, (40,))
    loss = bce(model(X_train[idx]), y_train[idx])
    opt.zero_grad()
    loss.backward()
    opt.step()
    if step % 20 == 19:
        model.eval()
        with torch.no_grad():
            acc = ((model(X_test) > 0) == y_test.bool()).float().mean().item()
        model.train()
        print(f"step {step + 1}: loss {loss.item():.3f}, test accuracy {acc:.3f}")
