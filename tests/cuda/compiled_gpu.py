# Forecast the next value of a noisy two-frequency signal from the last 48. torch.compile with the default backend.
import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass
class Config:
    window: int = 48
    width: int = 128
    depth: int = 3
    batch_size: int = 256
    epochs: int = 8
    lr: float = 1e-3
    seed: int = 1234


def make_series(n: int, generator: torch.Generator) -> Tensor:
    t = torch.arange(n, dtype=torch.float32)
    clean = torch.sin(2 * math.pi * t / 31) + 0.5 * torch.sin(2 * math.pi * t / 7.3 + 1)
    return clean + 0.1 * torch.randn(n, generator=generator)


class ResidualBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(nn.functional.silu(self.up(self.norm(x))))


class Forecaster(nn.Module):
    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.embed = nn.Linear(cfg.window, cfg.width)
        self.blocks = nn.ModuleList(ResidualBlock(cfg.width) for _ in range(cfg.depth))
        self.out = nn.Linear(cfg.width, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return self.out(x).squeeze(-1)


def run(cfg: Config) -> None:
    torch.manual_seed(cfg.seed)
    torch.set_float32_matmul_precision("high")
    series = make_series(9000, torch.Generator().manual_seed(cfg.seed)).cuda()
    train_series, val_series = series[:7500], series[7500:]

    def windows(s: Tensor) -> tuple[Tensor, Tensor]:
        pieces = s.unfold(0, cfg.window + 1, 1)
        return pieces[:, :-1].contiguous(), pieces[:, -1].contiguous()

    (x, y), (x_val, y_val) = windows(train_series), windows(val_series)
    model = Forecaster(cfg).cuda()
    compiled = torch.compile(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=cfg.lr, weight_decay=0.01)
    criterion = nn.MSELoss()
    started = time.perf_counter()
    for epoch in range(cfg.epochs):
        compiled.train()
        shuffled = torch.randperm(len(x), device=x.device)
        losses = []
        for start in range(0, len(x) - cfg.batch_size + 1, cfg.batch_size):
            rows = shuffled[start : start + cfg.batch_size]
            optimizer.zero_grad()
            loss = criterion(compiled(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        compiled.eval()
        with torch.inference_mode():
            val = criterion(compiled(x_val), y_val)
        print(f"[{epoch:02d}] train mse {torch.stack(losses).mean().item():.5f}, val mse {val.item():.5f}")
    assert time.perf_counter() - started < 600


if __name__ == "__main__":
    run(Config())
