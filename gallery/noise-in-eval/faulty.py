"""Which of three cultivars a wine comes from: standardised chemistry, a small net with noisy hidden layers."""
import torch
from sklearn.datasets import load_wine
from sklearn.model_selection import StratifiedShuffleSplit
from torch import nn


class GaussianNoise(nn.Module):
    """Additive noise relative to nothing but its own strength, as in Keras."""

    def __init__(self, stddev: float) -> None:
        super().__init__()
        self.stddev = stddev

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.stddev * torch.randn_like(x)  # fault: the noise stays on in evaluation


def build(inputs: int, hidden: int, classes: int) -> nn.Sequential:
    return nn.Sequential(
        GaussianNoise(0.5),
        nn.Linear(inputs, hidden),
        nn.ELU(),
        GaussianNoise(0.5),
        nn.Linear(hidden, classes),
    )


def accuracy(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    net.eval()
    with torch.inference_mode():
        return (net(x).argmax(dim=-1) == y).double().mean().item()


def main() -> None:
    torch.manual_seed(8)
    x, y = load_wine(return_X_y=True)
    rows, held_out = next(StratifiedShuffleSplit(1, test_size=0.4, random_state=8).split(x, y))
    center, scale = x[rows].mean(axis=0), x[rows].std(axis=0)
    features = torch.as_tensor((x - center) / scale, dtype=torch.float)
    labels = torch.as_tensor(y)

    net = build(13, 24, 3)
    optimizer = torch.optim.RMSprop(net.parameters(), lr=2e-3)
    objective = nn.CrossEntropyLoss()
    for epoch in range(1, 61):
        net.train()
        shuffled = torch.as_tensor(rows)[torch.randperm(len(rows))]
        for batch in shuffled.split(16):
            optimizer.zero_grad()
            objective(net(features[batch]), labels[batch]).backward()
            optimizer.step()
        if epoch % 10 == 0:
            print(f"{epoch:3d}  held out {accuracy(net, features[held_out], labels[held_out]):.3f}")


if __name__ == "__main__":
    main()
