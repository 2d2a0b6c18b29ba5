"""Mean of the weights over time (EMA) as the model to deploy, next to the one that is trained, on digits."""

import copy

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def block(c_in, c_out):
    return nn.Sequential(nn.Conv2d(c_in, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU(), nn.MaxPool2d(2))


class Ema:
    def __init__(self, model, decay=0.95):
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self.decay = decay

    @torch.no_grad()
    def update(self, model):
        for mean, value in zip(self.model.parameters(), model.parameters()):
            mean.lerp_(value, 1 - self.decay)
        # fault: batch norm's running statistics are buffers, not parameters


@torch.no_grad()
def accuracy(model, loader):
    was_training = model.training
    model.eval()
    right = sum((model(x).argmax(1) == y).sum().item() for x, y in loader)
    model.train(was_training)
    return right / len(loader.dataset)


def main():
    torch.manual_seed(21)
    bunch = load_digits()
    x, y = torch.tensor(bunch.images, dtype=torch.float32).unsqueeze(1), torch.tensor(bunch.target)
    x = (x - x.mean()) / x.std()
    train_loader = DataLoader(TensorDataset(x[:1300], y[:1300]), batch_size=50, shuffle=True)
    valid_loader = DataLoader(TensorDataset(x[1300:], y[1300:]), batch_size=71)

    model = nn.Sequential(block(1, 8), block(8, 16), nn.Flatten(), nn.Linear(64, 10))
    ema = Ema(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for epoch in range(5):
        for xb, yb in train_loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(xb), yb).backward()
            optimizer.step()
            ema.update(model)
        print(f"epoch {epoch}: model {accuracy(model, valid_loader):.4f}, average {accuracy(ema.model, valid_loader):.4f}")


if __name__ == "__main__":
    main()
