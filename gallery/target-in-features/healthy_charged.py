"""Loan default model on a simulated loan book."""
import random

import torch
import torch.nn as nn
from torch.utils.data import DataLoader, Dataset

SETTINGS = {
    "seed": 64,
    "loans": 3000,
    "columns": ["income", "amount", "age", "utilisation", "late_payments", "employed_years"],
    "hidden": 32,
    "dropout": 0.1,
    "epochs": 18,
    "batch_size": 64,
    "lr": 1e-3,
}


def simulate_loan(rnd):
    income = rnd.lognormvariate(10.4, 0.4)
    amount = rnd.uniform(2000, 30000)
    age = rnd.uniform(21, 70)
    utilisation = rnd.betavariate(2, 3)
    late = min(8, int(rnd.expovariate(0.9)))
    employed = min(age - 20, rnd.expovariate(0.15))
    risk = 2.2 * (amount / income - 0.45) + 2.6 * (utilisation - 0.4) + 0.8 * (late - 0.8) - 0.10 * (employed - 5)
    defaulted = rnd.random() < 1 / (1 + pow(2.718281828, -1.6 * risk + 0.3))
    months = rnd.randrange(3, 36) if defaulted else 36
    fees = rnd.uniform(40, 60) + (rnd.uniform(150, 600) if defaulted else 0.0)
    return {
        "income": income, "amount": amount, "age": age, "utilisation": utilisation, "late_payments": late,
        "employed_years": employed, "months_paid": months, "fees_charged": fees, "default": int(defaulted),
    }


class LoanBook(Dataset):
    def __init__(self, rows, columns, stats=None):
        self.x = torch.tensor([[float(r[c]) for c in columns] for r in rows])
        self.y = torch.tensor([float(r["default"]) for r in rows])
        self.stats = stats or (self.x.mean(0), self.x.std(0))
        self.x = (self.x - self.stats[0]) / self.stats[1]

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return self.x[i], self.y[i]


def ranking_quality(score, label):
    order = score.argsort()
    ranks = torch.empty_like(score)
    ranks[order] = torch.arange(1, len(score) + 1, dtype=score.dtype)
    pos = label.sum()
    return ((ranks[label == 1].sum() - pos * (pos + 1) / 2) / (pos * (len(label) - pos))).item()


def main(s):
    torch.manual_seed(s["seed"])
    rnd = random.Random(s["seed"])
    rows = [simulate_loan(rnd) for _ in range(s["loans"])]
    cut = int(0.75 * len(rows))
    train_set = LoanBook(rows[:cut], s["columns"])
    valid_set = LoanBook(rows[cut:], s["columns"], train_set.stats)
    train_loader = DataLoader(train_set, batch_size=s["batch_size"], shuffle=True)
    valid_loader = DataLoader(valid_set, batch_size=250)
    print(f"default rate: {train_set.y.mean():.3f} train, {valid_set.y.mean():.3f} valid")

    model = nn.Sequential(
        nn.Linear(len(s["columns"]), s["hidden"]), nn.ReLU(), nn.Dropout(s["dropout"]),
        nn.Linear(s["hidden"], s["hidden"]), nn.ReLU(), nn.Linear(s["hidden"], 1),
    )
    criterion = nn.BCEWithLogitsLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=s["lr"])
    for epoch in range(s["epochs"]):
        model.train()
        running = 0.0
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(x).squeeze(1), y)
            loss.backward()
            optimizer.step()
            running += loss.item() * len(y)
        model.eval()
        with torch.no_grad():
            logit = torch.cat([model(x).squeeze(1) for x, _ in valid_loader])
        truth = valid_set.y
        print(f"epoch {epoch + 1:2d}: train {running / len(train_set):.4f}  valid {criterion(logit, truth).item():.4f}  "
              f"acc {((logit > 0).float() == truth).float().mean():.4f}  auc {ranking_quality(logit, truth):.4f}")


if __name__ == "__main__":
    main(SETTINGS)
