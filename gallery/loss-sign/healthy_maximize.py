"""Disease progression from ten measurements: a small regression network, trained by a reusable Trainer."""
import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_diabetes


class Trainer:
    def __init__(self, model, lr, epochs, batch_size):
        self.model = model
        self.epochs = epochs
        self.batch_size = batch_size
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=1e-3)

    def fit(self, x, y, rng):
        for epoch in range(self.epochs):
            order = rng.permutation(len(x))
            losses = []
            for start in range(0, len(order) - self.batch_size + 1, self.batch_size):
                rows = order[start : start + self.batch_size]
                losses.append(self.step(x[rows], y[rows]))
            if epoch % 10 == 9:
                print(f"epoch {epoch + 1:3d}  mse {np.mean(losses):.4f}")

    def step(self, x, y):
        self.optimizer.zero_grad()
        loss = F.mse_loss(self.model(x).squeeze(-1), y)
        loss.backward()
        self.optimizer.step()
        return loss.item()

    @torch.no_grad()
    def score(self, x, y):
        residual = y - self.model(x).squeeze(-1)
        return 1 - (residual.var(unbiased=False) / y.var(unbiased=False)).item()


def main():
    torch.manual_seed(12)
    rng = np.random.default_rng(12)
    x, y = load_diabetes(return_X_y=True)
    x = torch.tensor(x / x.std(axis=0), dtype=torch.float32)
    y = torch.tensor((y - y.mean()) / y.std(), dtype=torch.float32)
    order = rng.permutation(len(x))
    train, test = order[:350], order[350:]
    model = torch.nn.Sequential(torch.nn.Linear(10, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))
    trainer = Trainer(model, lr=1e-3, epochs=40, batch_size=25)
    trainer.fit(x[train], y[train], rng)
    print(f"R2 on held-out patients: {trainer.score(x[test], y[test]):.3f}")


main()
