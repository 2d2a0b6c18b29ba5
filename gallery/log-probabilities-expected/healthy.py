"""Train a small convolutional network on 8x8 images of handwritten digits."""
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

CONFIG = {
    "seed": 1,
    "epochs": 6,
    "batch_size": 64,
    "lr": 1e-3,
    "channels": (12, 24),
    "val_fraction": 0.2,
}


class ConvNet(nn.Module):
    def __init__(self, channels):
        super().__init__()
        first, second = channels
        self.conv1 = nn.Conv2d(1, first, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(first, second, kernel_size=3, padding=1)
        self.fc = nn.Linear(second * 4 * 4, 10)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = self.fc(x.flatten(1))
        return F.log_softmax(x, dim=1)


def make_datasets(cfg):
    digits = load_digits()
    images = digits.images.astype(np.float32)[:, None] / 16.0
    order = np.random.permutation(len(images))
    cut = int(len(order) * cfg["val_fraction"])
    val_idx, train_idx = order[:cut], order[cut:]
    mean, std = images[train_idx].mean(), images[train_idx].std()
    x = torch.from_numpy((images - mean) / std)
    y = torch.from_numpy(digits.target)
    return TensorDataset(x[train_idx], y[train_idx]), TensorDataset(x[val_idx], y[val_idx])


def run(cfg):
    np.random.seed(cfg["seed"])
    torch.manual_seed(cfg["seed"])
    train_set, val_set = make_datasets(cfg)
    train_dl = DataLoader(train_set, batch_size=cfg["batch_size"], shuffle=True)
    val_dl = DataLoader(val_set, batch_size=cfg["batch_size"])
    net = ConvNet(cfg["channels"])
    optim = torch.optim.Adam(net.parameters(), lr=cfg["lr"])

    for epoch in range(cfg["epochs"]):
        net.train()
        for x, y in train_dl:
            loss = F.nll_loss(net(x), y)
            optim.zero_grad()
            loss.backward()
            optim.step()

        net.eval()
        val_loss, correct = 0.0, 0
        with torch.no_grad():
            for x, y in val_dl:
                out = net(x)
                val_loss += F.nll_loss(out, y, reduction="sum").item()
                correct += (out.argmax(dim=1) == y).sum().item()
        val_loss, accuracy = val_loss / len(val_set), correct / len(val_set)
        print(f"epoch={epoch} val_loss={val_loss:.4f} val_accuracy={accuracy:.4f}")
    return val_loss, accuracy


if __name__ == "__main__":
    loss, acc = run(CONFIG)
    print(f"done, validation loss {loss:.4f} accuracy {acc:.4f}")
