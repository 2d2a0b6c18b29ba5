"""Train a small MLP on the 8x8 handwritten digits with a Trainer class and keep the best checkpoint."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


@dataclass(frozen=True)
class Config:
    hidden: int = 96
    batch_size: int = 64
    epochs: int = 8
    lr: float = 2e-3
    weight_decay: float = 1e-4
    seed: int = 7
    checkpoint: Path = Path("best_digits.pt")


def build_loaders(cfg: Config) -> tuple[DataLoader, DataLoader]:
    images, labels = load_digits(return_X_y=True)
    x_tr, x_va, y_tr, y_va = train_test_split(
        images.astype("float32"), labels, test_size=0.2, stratify=labels, random_state=cfg.seed
    )
    mean, std = x_tr.mean(), x_tr.std()
    train = TensorDataset(torch.from_numpy((x_tr - mean) / std), torch.from_numpy(y_tr))
    valid = TensorDataset(torch.from_numpy((x_va - mean) / std), torch.from_numpy(y_va))
    return (
        DataLoader(train, batch_size=cfg.batch_size, shuffle=True),
        DataLoader(valid, batch_size=256),
    )


class DigitNet(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(64, hidden), nn.ReLU(), nn.Dropout(0.1), nn.Linear(hidden, hidden), nn.ReLU()
        )
        self.head = nn.Linear(hidden, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))


class Trainer:
    def __init__(self, model: nn.Module, cfg: Config) -> None:
        self.model = model
        self.cfg = cfg
        self.criterion = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=cfg.lr, weight_decay=cfg.weight_decay)
        self.best = float("inf")

    def fit(self, train: DataLoader, valid: DataLoader) -> None:
        for epoch in range(1, self.cfg.epochs + 1):
            train_loss = self._train_epoch(train)
            valid_loss, accuracy = self.evaluate(valid)
            marker = ""
            if valid_loss < self.best:
                self.best = valid_loss
                self._save(epoch)
                marker = " *"
            print(f"epoch {epoch:2d}  train {train_loss:.4f}  valid {valid_loss:.4f}  acc {accuracy:.4f}{marker}")

    def _train_epoch(self, loader: DataLoader) -> float:
        self.model.train()
        total, seen = 0.0, 0
        for x, y in loader:
            self.optimizer.zero_grad()
            loss = self.criterion(self.model(x), y)
            loss.backward()
            self.optimizer.step()
            total += loss.item() * len(y)
            seen += len(y)
        return total / seen

    @torch.no_grad()
    def evaluate(self, loader: DataLoader) -> tuple[float, float]:
        self.model.eval()
        total, hits, seen = 0.0, 0, 0
        for x, y in loader:
            logits = self.model(x)
            total += self.criterion(logits, y).item() * len(y)
            hits += (logits.argmax(1) == y).sum().item()
            seen += len(y)
        return total / seen, hits / seen

    def _save(self, epoch: int) -> None:
        torch.save({"epoch": epoch, "model": self.model.state_dict()}, self.cfg.checkpoint)

    def restore_best(self) -> int:
        state = torch.load(self.cfg.checkpoint, weights_only=True)
        self.model.load_state_dict(state["model"])
        return state["epoch"]


def main() -> None:
    cfg = Config()
    torch.manual_seed(cfg.seed)
    train, valid = build_loaders(cfg)
    trainer = Trainer(DigitNet(cfg.hidden), cfg)
    trainer.fit(train, valid)
    epoch = trainer.restore_best()
    loss, accuracy = trainer.evaluate(valid)
    print(f"best epoch {epoch}: valid loss {loss:.4f}, accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main()
