"""Regression on an endless synthetic stream, wrapped in an IterableDataset that is re-seeded every epoch."""
import math
from typing import Iterator

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset


class RippleStream(IterableDataset):
    """y = sin(r) + x0 * x1 / 2 + noise for x ~ N(0, 1)^4; the last two inputs are distractors."""

    def __init__(self, samples_per_epoch: int, seed: int) -> None:
        super().__init__()
        self.samples_per_epoch = samples_per_epoch
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        g = torch.Generator().manual_seed(self.seed * 1000 + self.epoch)
        for _ in range(self.samples_per_epoch):
            x = torch.randn(4, generator=g)
            clean = torch.sin(x[:2].norm()) + x[0] * x[1] / 2
            yield x, clean + 0.1 * torch.randn((), generator=g)


class Surface(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stack = nn.Sequential(
            nn.Linear(4, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1), nn.Flatten(0)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.stack(x)


def main() -> None:
    torch.manual_seed(9)
    train_stream = RippleStream(2000, seed=1)
    train_loader = DataLoader(train_stream, batch_size=64)
    valid_batches = list(DataLoader(RippleStream(600, seed=2), batch_size=200))
    model = Surface()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for epoch in range(8):
        train_stream.set_epoch(epoch)
        model.train()
        total, seen = 0.0, 0
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = (model(x) - y).square().mean()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
            seen += len(y)
        model.eval()
        with torch.no_grad():
            error = sum((model(x) - y).square().sum().item() for x, y in valid_batches)
        rmse = math.sqrt(error / sum(len(y) for _, y in valid_batches))
        print(f"epoch {epoch}: train mse {total / seen:.4f}, valid rmse {rmse:.4f}")
    spread = torch.cat([y for _, y in valid_batches]).std().item()
    print(f"valid rmse {rmse:.4f} where the targets have spread {spread:.4f}")


if __name__ == "__main__":
    main()
