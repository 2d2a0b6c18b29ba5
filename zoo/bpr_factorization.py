"""Matrix factorisation with the BPR loss: one observed and one sampled unseen item per user; ranked by hit rate at 10."""
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset

USERS, ITEMS, FACTORS = 200, 150, 8


def interactions(seed=0):
    """Fifteen items a user, drawn by taste; the last is held out."""
    rng = np.random.default_rng(seed)
    taste = rng.normal(size=(USERS, 4)) @ rng.normal(size=(4, ITEMS)) * 1.5 + rng.normal(size=ITEMS)
    p = np.exp(taste - taste.max(1, keepdims=True))
    drawn = np.stack([rng.choice(ITEMS, 16, replace=False, p=row / row.sum()) for row in p])
    return drawn[:, :-1], drawn[:, -1]


class Triples(Dataset):
    def __init__(self, seen):
        self.pairs = [(u, int(i)) for u, row in enumerate(seen) for i in row]
        self.seen = [set(map(int, row)) for row in seen]

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, n):
        user, positive = self.pairs[n]
        negative = int(torch.randint(ITEMS, ()))
        while negative in self.seen[user]:
            negative = int(torch.randint(ITEMS, ()))
        return user, positive, negative


class MF(nn.Module):
    def __init__(self):
        super().__init__()
        self.user, self.item = nn.Embedding(USERS, FACTORS), nn.Embedding(ITEMS, FACTORS)
        self.item_bias = nn.Embedding(ITEMS, 1)
        nn.init.normal_(self.user.weight, std=0.1)
        nn.init.normal_(self.item.weight, std=0.1)
        nn.init.zeros_(self.item_bias.weight)

    def forward(self, user, item):
        return (self.user(user) * self.item(item)).sum(-1) + self.item_bias(item).squeeze(-1)

    def all_scores(self):
        return self.user.weight @ self.item.weight.T + self.item_bias.weight.T


@torch.no_grad()
def hit_rate(model, seen, held_out, k=10):
    scores = model.all_scores()
    scores.scatter_(1, torch.as_tensor(seen), -torch.inf)
    best = scores.topk(k, dim=1).indices
    return (best == torch.as_tensor(held_out).unsqueeze(1)).any(1).float().mean().item()


def main():
    torch.manual_seed(0)
    seen, held_out = interactions()
    loader = DataLoader(Triples(seen), batch_size=128, shuffle=True)
    model = MF()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-2)
    print(f"untrained: hit rate {hit_rate(model, seen, held_out):.3f}, chance {10 / (ITEMS - 15):.3f}")
    for epoch in range(8):
        total = right = 0.0
        for user, positive, negative in loader:
            optimizer.zero_grad()
            margin = model(user, positive) - model(user, negative)
            l2 = model.user(user).pow(2).sum(1) + model.item(positive).pow(2).sum(1) + model.item(negative).pow(2).sum(1)
            loss = -F.logsigmoid(margin).mean() + 2e-3 * l2.mean()
            loss.backward()
            optimizer.step()
            total += loss.item()
            right += (margin > 0).float().mean().item()
        print(f"epoch {epoch} loss {total / len(loader):.4f} auc {right / len(loader):.3f} "
              f"hit rate@10 {hit_rate(model, seen, held_out):.3f}")


if __name__ == "__main__":
    main()
