"""Predict from measurements of cell nuclei whether a breast tumour is benign."""

import torch
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class TumourNet(nn.Module):
    def __init__(self, in_features, hidden=32):
        super().__init__()
        self.fc1 = nn.Linear(in_features, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.out = nn.Linear(hidden, 1)

    def forward(self, x):
        x = nn.functional.gelu(self.fc1(x))
        x = nn.functional.gelu(self.fc2(x))
        return self.out(x).squeeze(-1)


class Trainer:
    def __init__(self, model, train_loader, val_loader, lr):
        self.model = model
        self.train_loader = train_loader
        self.val_loader = val_loader
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
        self.criterion = nn.BCEWithLogitsLoss()

    def step(self, x, y):
        self.optimizer.zero_grad()
        loss = self.criterion(self.model(x), y)
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def train_epoch(self):
        self.model.train()
        total = 0.0
        for x, y in self.train_loader:
            total += self.step(x, y) * len(y)
        return total / len(self.train_loader.dataset)

    @torch.no_grad()
    def validate(self):
        self.model.eval()
        total, correct = 0.0, 0
        for x, y in self.val_loader:
            logits = self.model(x)
            total += self.criterion(logits, y).item() * len(y)
            correct += ((logits > 0).float() == y).sum().item()
        n = len(self.val_loader.dataset)
        return total / n, correct / n

    def fit(self, epochs):
        for epoch in range(1, epochs + 1):
            train_loss = self.train_epoch()
            val_loss, val_acc = self.validate()
            print(f"Epoch {epoch}/{epochs} loss: {train_loss:.4f} val_loss: {val_loss:.4f} val_acc: {val_acc:.3f}")
        return val_acc


def build_loaders(batch_size=32):
    X, y = load_breast_cancer(return_X_y=True)
    X_train, X_val, y_train, y_val = train_test_split(X, y, test_size=0.25, stratify=y, random_state=11)
    scaler = StandardScaler().fit(X_train)

    def to_set(features, labels):
        return TensorDataset(
            torch.tensor(scaler.transform(features), dtype=torch.float32),
            torch.tensor(labels, dtype=torch.float32),
        )

    return (
        DataLoader(to_set(X_train, y_train), batch_size=batch_size, shuffle=True),
        DataLoader(to_set(X_val, y_val), batch_size=batch_size),
    )


if __name__ == "__main__":
    torch.manual_seed(11)
    train_loader, val_loader = build_loaders()
    trainer = Trainer(TumourNet(in_features=30), train_loader, val_loader, lr=1e-3)
    accuracy = trainer.fit(epochs=10)
    print(f"Final validation accuracy: {accuracy:.4f}")
