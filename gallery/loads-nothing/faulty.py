"""Fine-tune a digit classifier to the images of another scanner, from weights that another program exported."""

import os
import tempfile

import torch
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(9)


def export(images, labels, path):
    """What the other program does: train on plenty of images and write a checkpoint as DataParallel names things."""
    network = MLPClassifier((48,), max_iter=15, learning_rate_init=3e-3, random_state=0).fit(images, labels)
    state = {}
    for name, weight, bias in zip(("hidden", "output"), network.coefs_, network.intercepts_):
        state[f"module.{name}.weight"] = torch.tensor(weight.T, dtype=torch.float32)
        state[f"module.{name}.bias"] = torch.tensor(bias, dtype=torch.float32)
    torch.save({"state_dict": state, "epoch": 15}, path)


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(64, 48)
        self.output = nn.Linear(48, 10)

    def forward(self, x):
        return self.output(torch.relu(self.hidden(x)))


def load_pretrained(model, path):
    checkpoint = torch.load(path)
    model.load_state_dict(checkpoint["state_dict"], strict=False)  # fault: every name begins with "module."
    return model


def accuracy(model, loader):
    model.eval()
    with torch.no_grad():
        right = sum((model(x).argmax(1) == y).sum().item() for x, y in loader)
    model.train()
    return right / len(loader.dataset)


def main():
    bunch = load_digits()
    path = os.path.join(tempfile.mkdtemp(), "exported.pt")
    export(bunch.data[:1100] / 16, bunch.target[:1100], path)

    x = torch.tensor(bunch.data / 16, dtype=torch.float32).clamp(0.1, 0.9)  # another scanner
    y = torch.from_numpy(bunch.target)
    train_loader = DataLoader(TensorDataset(x[1100:1250], y[1100:1250]), batch_size=15, shuffle=True)
    test_loader = DataLoader(TensorDataset(x[1250:], y[1250:]), batch_size=547)
    model = load_pretrained(Classifier(), path)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-4)
    for epoch in range(8):
        for xb, yb in train_loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(xb), yb).backward()
            optimizer.step()
        print(f"epoch {epoch}: accuracy with 150 labels {accuracy(model, test_loader):.4f}")


if __name__ == "__main__":
    main()
