"""Joint digit recognition and reconstruction from a narrow code.

The encoder feeds two heads: a classifier and a decoder.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, TensorDataset

cfg = {
    "seed": 5,
    "code": 8,
    "lr": 2e-3,
    "epochs": 20,
    "batch": 64,
    "w_cls": 1.0,
    "w_rec": 1.0,
}


class TwoHead(nn.Module):
    def __init__(self, code):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, code))
        self.classifier = nn.Linear(code, 10)
        self.decoder = nn.Sequential(nn.Linear(code, 64), nn.ReLU(), nn.Linear(64, 64))

    def forward(self, x):
        z = self.encoder(x)
        return self.classifier(z), self.decoder(z)


def losses(model, x, y):
    logits, x_hat = model(x)
    return F.cross_entropy(logits, y), F.mse_loss(x_hat, x), logits


def main():
    torch.manual_seed(cfg["seed"])
    X, y = load_digits(return_X_y=True)
    X_tr, X_va, y_tr, y_va = train_test_split(X / 16.0, y, test_size=0.2, stratify=y,
                                              random_state=cfg["seed"])
    m, s = X_tr.mean(), X_tr.std()
    as_set = lambda X, y: TensorDataset(torch.tensor((X - m) / s, dtype=torch.float32), torch.tensor(y))
    train_dl = DataLoader(as_set(X_tr, y_tr), cfg["batch"], shuffle=True,
                          generator=torch.Generator().manual_seed(cfg["seed"]))
    val_dl = DataLoader(as_set(X_va, y_va), 256)

    model = TwoHead(cfg["code"])
    opt = torch.optim.Adam(model.parameters(), lr=cfg["lr"])

    for epoch in range(cfg["epochs"]):
        model.train()
        tot, n = 0.0, 0
        for x, t in train_dl:
            ce, rec, _ = losses(model, x, t)
            loss = cfg["w_cls"] * ce + cfg["w_rec"] * rec
            opt.zero_grad()
            loss.backward()
            opt.step()
            tot += loss.item() * len(x)
            n += len(x)

        model.eval()
        v_ce = v_rec = 0.0
        hit = m_val = 0
        with torch.no_grad():
            for x, t in val_dl:
                ce, rec, logits = losses(model, x, t)
                v_ce += ce.item() * len(x)
                v_rec += rec.item() * len(x)
                hit += (logits.argmax(1) == t).sum().item()
                m_val += len(x)
        print(f"epoch {epoch + 1:02d} loss {tot / n:.4f} val_ce {v_ce / m_val:.4f} "
              f"val_rec {v_rec / m_val:.4f} val_acc {hit / m_val:.3f}")


if __name__ == "__main__":
    main()
