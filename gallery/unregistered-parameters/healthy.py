"""Read a digit image as a sequence of eight rows and classify it with a small transformer."""

from dataclasses import dataclass

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass
class Config:
    dim: int = 32
    heads: int = 4
    depth: int = 2
    epochs: int = 6
    batch_size: int = 48
    lr: float = 2e-3
    seed: int = 1234


class RowTransformer(nn.Module):
    def __init__(self, cfg: Config):
        super().__init__()
        self.embed = nn.Linear(8, cfg.dim)
        self.position = nn.Parameter(torch.randn(8, cfg.dim) * cfg.dim**-0.5)
        self.layers = nn.ModuleList([
            nn.TransformerEncoderLayer(
                cfg.dim, cfg.heads, 2 * cfg.dim, dropout=0.0, batch_first=True, norm_first=True
            )
            for _ in range(cfg.depth)
        ])
        self.norm = nn.LayerNorm(cfg.dim)
        self.head = nn.Linear(cfg.dim, 10)

    def forward(self, rows: Tensor) -> Tensor:
        h = self.embed(rows) + self.position
        for layer in self.layers:
            h = layer(h)
        return self.head(self.norm(h).mean(dim=1))


def load(cfg: Config) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    digits = load_digits()
    x_tr, x_va, y_tr, y_va = train_test_split(
        digits.images, digits.target, test_size=297, random_state=cfg.seed
    )
    mu, sigma = x_tr.mean(), x_tr.std()
    to_rows = lambda x: torch.tensor((x - mu) / sigma, dtype=torch.float32)
    return to_rows(x_tr), torch.tensor(y_tr), to_rows(x_va), torch.tensor(y_va)


@torch.no_grad()
def validate(model: nn.Module, x: Tensor, y: Tensor) -> tuple[float, float]:
    model.eval()
    logits = model(x)
    model.train()
    return F.cross_entropy(logits, y).item(), (logits.argmax(-1) == y).float().mean().item()


def fit(cfg: Config) -> float:
    torch.manual_seed(cfg.seed)
    x_tr, y_tr, x_va, y_va = load(cfg)
    model = RowTransformer(cfg)
    optimizer = torch.optim.AdamW(model.parameters(), lr=cfg.lr)
    model.train()
    for epoch in range(cfg.epochs):
        seen, total = 0, 0.0
        for index in torch.randperm(len(x_tr)).split(cfg.batch_size):
            loss = F.cross_entropy(model(x_tr[index]), y_tr[index])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(index)
            seen += len(index)
        val_loss, val_acc = validate(model, x_va, y_va)
        print(f"epoch={epoch} train_loss={total / seen:.3f} val_loss={val_loss:.3f} val_acc={val_acc:.3f}")
    return val_acc


if __name__ == "__main__":
    print(f"final val_acc={fit(Config()):.3f}")
