"""Sparse mixture of experts on digits: noisy top-2 gating, expert dispatch by index_add, a load-balancing loss."""
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Expert(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.up, self.down = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x):
        return self.down(F.gelu(self.up(x)))


class SparseMoE(nn.Module):
    def __init__(self, dim, experts=4, k=2, hidden=32):
        super().__init__()
        self.k = k
        self.gate, self.noise = nn.Linear(dim, experts, bias=False), nn.Linear(dim, experts, bias=False)
        nn.init.zeros_(self.noise.weight)
        self.experts = nn.ModuleList(Expert(dim, hidden) for _ in range(experts))

    def forward(self, x):
        logits = self.gate(x)
        if self.training:
            logits = logits + 0.3 * torch.randn_like(logits) * F.softplus(self.noise(x))
        probabilities = logits.softmax(-1)
        weight, chosen = probabilities.topk(self.k, dim=-1)
        weight = weight / weight.sum(-1, keepdim=True)
        out = torch.zeros_like(x)
        for e, expert in enumerate(self.experts):
            rows, slot = torch.where(chosen == e)
            if len(rows):
                out = out.index_add(0, rows, weight[rows, slot].unsqueeze(1) * expert(x[rows]))
        load = F.one_hot(chosen, len(self.experts)).float().sum(1).mean(0) / self.k
        balance = len(self.experts) * (load * probabilities.mean(0)).sum()
        return out, balance, load


class Classifier(nn.Module):
    def __init__(self, dim=48):
        super().__init__()
        self.stem = nn.Linear(64, dim)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.moes = nn.ModuleList(SparseMoE(dim) for _ in range(2))
        self.head = nn.Linear(dim, 10)

    def forward(self, x):
        h, penalties, loads = self.stem(x), [], []
        for norm, moe in zip(self.norms, self.moes):
            y, penalty, load = moe(norm(h))
            h = h + y
            penalties.append(penalty)
            loads.append(load)
        return self.head(h), torch.stack(penalties).mean(), torch.stack(loads).detach()


def main():
    torch.manual_seed(6)
    x, y = load_digits(return_X_y=True)
    xa, xb, ya, yb = train_test_split(x / 16.0 - 0.3, y, test_size=0.25, random_state=0, stratify=y)
    train = TensorDataset(torch.tensor(xa, dtype=torch.float32), torch.tensor(ya))
    xv, yv = torch.tensor(xb, dtype=torch.float32), torch.tensor(yb)
    loader = DataLoader(train, batch_size=64, shuffle=True)
    model = Classifier()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    for epoch in range(6):
        model.train()
        ce_sum = balance_sum = 0.0
        for xb, yb in loader:
            logits, balance, _ = model(xb)
            ce = F.cross_entropy(logits, yb)
            loss = ce + 0.01 * balance
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            ce_sum += ce.item()
            balance_sum += balance.item()
        model.eval()
        with torch.no_grad():
            logits, _, loads = model(xv)
        accuracy = (logits.argmax(1) == yv).float().mean().item()
        shares = " ".join(f"{v:.2f}" for v in loads[0].tolist())
        print(f"epoch {epoch} ce {ce_sum / len(loader):.3f} balance {balance_sum / len(loader):.3f} acc {accuracy:.3f} load {shares}")


if __name__ == "__main__":
    main()
