"""Digits with torch.compile (ahead-of-time autograd, no code generation)."""
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Model(nn.Module):
    def __init__(self, width: int = 64):
        super().__init__()
        self.inp = nn.Linear(64, width)
        self.mid = nn.Linear(width, width)
        self.out = nn.Linear(width, 10)

    def forward(self, x):
        x = nn.functional.gelu(self.inp(x))
        x = x + nn.functional.gelu(self.mid(x))
        return self.out(x)


def main():
    torch.manual_seed(314)
    X, y = load_digits(return_X_y=True)
    X_train, X_val, y_train, y_val = train_test_split(X.astype("f4"), y, test_size=0.2, random_state=314, stratify=y)
    mean, std = X_train.mean(), X_train.std()
    train_ds = TensorDataset(torch.from_numpy((X_train - mean) / std), torch.from_numpy(y_train))
    val_x, val_y = torch.from_numpy((X_val - mean) / std), torch.from_numpy(y_val)
    train_dl = DataLoader(train_ds, batch_size=64, shuffle=True, drop_last=True)

    model = Model()
    compiled = torch.compile(model, backend="aot_eager")
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    for epoch in range(10):
        compiled.train()
        total = torch.zeros(())
        for xb, yb in train_dl:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(compiled(xb), yb)
            loss.backward()
            optimizer.step()
            total += loss.detach()

        model.eval()
        with torch.no_grad():
            logits = model(val_x)
            val_loss = nn.functional.cross_entropy(logits, val_y)
            val_acc = (logits.argmax(-1) == val_y).float().mean()
        print(f"[{epoch}] train {(total / len(train_dl)).item():.4f} val {val_loss.item():.4f} acc {val_acc.item():.4f}")

    print(f"compiled training done, accuracy {val_acc.item():.4f}")


if __name__ == "__main__":
    main()
