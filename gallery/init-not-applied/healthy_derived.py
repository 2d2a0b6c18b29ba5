"""Digits with small convolutions that pad by themselves; weights from He's rule."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class SameConv(nn.Conv2d):
    """A convolution that keeps height and width."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, 3, padding=1)


def he(layer: nn.Module) -> None:
    if isinstance(layer, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)


def build() -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(1, 16, 1), nn.ReLU()]
    for _ in range(4):
        layers += [SameConv(16, 16), nn.ReLU()]
    net = nn.Sequential(*layers, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16 * 16, 10))
    net.apply(he)
    return net


torch.manual_seed(3)
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
mean, std = images[:1300].mean(), images[:1300].std()
images, targets = (images - mean) / std, torch.tensor(digits.target)
train = DataLoader(TensorDataset(images[:1300], targets[:1300]), batch_size=50, shuffle=True)
test = DataLoader(TensorDataset(images[1300:], targets[1300:]), batch_size=250)

net = build()
optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
for epoch in range(4):
    net.train()
    for x, y in train:
        loss = nn.functional.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        right = sum(int((net(x).argmax(1) == y).sum()) for x, y in test)
    print(f"epoch {epoch}: {right / len(test.dataset):.3f}")
