"""Digits with a small convolutional net whose SiLU activation is written by hand to save memory."""
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class MemoryEfficientSiLU(torch.autograd.Function):
    """keeps only its input for the backward pass"""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        s = torch.sigmoid(x)
        return grad_output * s * (1 + x * (1 - s))


class SiLU(nn.Module):
    def forward(self, x):
        return MemoryEfficientSiLU.apply(x)


class SmallConvNet(nn.Module):
    def __init__(self, channels=12, classes=10):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            SiLU(),
            nn.Conv2d(channels, channels, 3, stride=2, padding=1),
            SiLU(),
        )
        self.head = nn.Sequential(nn.Linear(channels * 16, 48), SiLU(), nn.Linear(48, classes))

    def forward(self, x):
        return self.head(self.features(x).flatten(1))


def loaders(batch_size=48):
    images, labels = load_digits(return_X_y=True)
    images = torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8) / 8 - 1
    labels = torch.tensor(labels)
    train, test = train_test_split(range(len(labels)), test_size=0.25, random_state=2, stratify=labels)
    make = lambda rows: TensorDataset(images[rows], labels[rows])
    return DataLoader(make(train), batch_size, shuffle=True), DataLoader(make(test), 256)


@torch.no_grad()
def evaluate(net, loader):
    net.eval()
    right = sum((net(x).argmax(1) == y).sum().item() for x, y in loader)
    return right / len(loader.dataset)


def main():
    torch.manual_seed(2)
    train_loader, test_loader = loaders()
    net = SmallConvNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for epoch in range(3):
        net.train()
        total = 0.0
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
        accuracy = evaluate(net, test_loader)
        print(f"epoch {epoch}: train loss {total / len(train_loader.dataset):.4f}, test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
