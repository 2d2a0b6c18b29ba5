from typing import Literal

import torch
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, Dataset


class BreastCancer(Dataset):
    """30 cell measurements -> malignant / benign, with a fixed split."""

    def __init__(self, split: Literal["train", "val", "test"], seed: int = 0):
        X, y = load_breast_cancer(return_X_y=True)
        idx_train, rest = train_test_split(range(len(X)), test_size=0.4, random_state=seed, stratify=y)
        idx_val, idx_test = train_test_split(rest, test_size=0.5, random_state=seed, stratify=y[rest])
        mean, std = X[idx_train].mean(0), X[idx_train].std(0)
        rows = {"train": idx_train, "val": idx_val, "test": idx_test}[split]
        self.x = torch.as_tensor((X[rows] - mean) / std, dtype=torch.float32)
        self.y = torch.as_tensor(y[rows], dtype=torch.float32)

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return self.x[i], self.y[i]


class LitMLP(nn.Module):
    def __init__(self, hidden=32, lr=1e-3):
        super().__init__()
        self.lr = lr
        self.layers = nn.Sequential(nn.Linear(30, hidden), nn.ReLU(), nn.Dropout(0.2), nn.Linear(hidden, 1))

    def forward(self, x):
        return self.layers(x).squeeze(-1)

    def training_step(self, batch):
        x, y = batch
        return nn.functional.binary_cross_entropy_with_logits(self(x), y)

    def validation_step(self, batch):
        x, y = batch
        z = self(x)
        return {
            "loss": nn.functional.binary_cross_entropy_with_logits(z, y, reduction="sum").item(),
            "hits": ((z > 0) == (y > 0.5)).sum().item(),
            "n": len(y),
        }

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.lr, weight_decay=1e-4)


class CancerData:
    def __init__(self, batch_size=16):
        self.batch_size = batch_size

    def train_dataloader(self):
        return DataLoader(BreastCancer("train"), batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self):
        return DataLoader(BreastCancer("train"), batch_size=128)  # fault: the training examples once more

    def test_dataloader(self):
        return DataLoader(BreastCancer("test"), batch_size=128)


class MiniTrainer:
    def __init__(self, max_epochs):
        self.max_epochs = max_epochs

    def validate(self, module, loader):
        module.eval()
        with torch.no_grad():
            outs = [module.validation_step(b) for b in loader]
        n = sum(o["n"] for o in outs)
        return sum(o["loss"] for o in outs) / n, sum(o["hits"] for o in outs) / n

    def fit(self, module, data):
        opt = module.configure_optimizers()
        train_dl, val_dl = data.train_dataloader(), data.val_dataloader()
        for epoch in range(self.max_epochs):
            module.train()
            losses = []
            for batch in train_dl:
                loss = module.training_step(batch)
                opt.zero_grad()
                loss.backward()
                opt.step()
                losses.append(loss.item())
            vl, va = self.validate(module, val_dl)
            print(f"Epoch {epoch:02d} train_loss={sum(losses) / len(losses):.4f} val_loss={vl:.4f} val_acc={va:.4f}")


if __name__ == "__main__":
    torch.manual_seed(42)
    data, module = CancerData(), LitMLP()
    trainer = MiniTrainer(max_epochs=25)
    trainer.fit(module, data)
    loss, acc = trainer.validate(module, data.test_dataloader())
    print(f"test_loss={loss:.4f} test_acc={acc:.4f}")
