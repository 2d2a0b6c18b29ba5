"""Find the rare digit classes: most classes are thinned out, and the loss is weighted by class."""
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import balanced_accuracy_score
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

KEEP = [1.0, 0.1, 1.0, 0.15, 1.0, 0.1, 1.0, 0.2, 0.12, 1.0]


def thinned(seed):
    rng = np.random.default_rng(seed)
    digits = load_digits()
    kept = rng.random(len(digits.target)) < np.array(KEEP)[digits.target]
    x = torch.tensor(digits.data / 16, dtype=torch.float32)
    y = torch.tensor(digits.target)
    kept = torch.tensor(kept)
    rest = torch.cat([torch.where(~kept)[0], torch.where(kept)[0][700:]])
    return TensorDataset(x[kept][:700], y[kept][:700]), TensorDataset(x[rest], y[rest])


def main():
    torch.manual_seed(2)
    train, test = thinned(2)
    counts = torch.bincount(train.tensors[1], minlength=10).float()
    print("labels per class", counts.int().tolist())
    weight = counts.sum() / (len(counts) * counts)
    criterion = nn.CrossEntropyLoss(weight=weight)
    model = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    loader = DataLoader(train, batch_size=32, shuffle=True)
    for epoch in range(12):
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        predicted = model(test.tensors[0]).argmax(1)
    print(f"balanced accuracy on the rest {balanced_accuracy_score(test.tensors[1], predicted):.3f}")


main()
