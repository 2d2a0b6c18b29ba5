"""Iris species from noisy measurements: each epoch should see other noise."""
import random

import torch
import torch.nn as nn
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, Dataset


def jitter(values, spread):
    """Measurement noise, and now and then a feature that is missing (0 after standardising)."""
    noisy = [v + random.gauss(0.0, spread) for v in values]
    if random.random() < 0.3:
        noisy[random.randrange(len(noisy))] = 0.0
    return noisy


class Flowers(Dataset):
    def __init__(self, x, y, spread=0.0, seed=None):
        self.x, self.y = x.tolist(), y.tolist()
        self.spread = spread
        random.seed(seed)

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        values = self.x[i]
        if self.spread:
            values = jitter(values, self.spread)
        return torch.tensor(values), self.y[i]


def main(seed=6):
    torch.manual_seed(seed)
    x, y = load_iris(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=50, random_state=seed, stratify=y)
    mean, std = x_train.mean(0), x_train.std(0)
    train = DataLoader(Flowers((x_train - mean) / std, y_train, spread=0.4, seed=seed), batch_size=10, shuffle=True)
    test = DataLoader(Flowers((x_test - mean) / std, y_test, seed=seed), batch_size=50)

    model = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    loss_fn = nn.CrossEntropyLoss()
    for epoch in range(20):
        model.train()
        for values, species in train:
            optimizer.zero_grad()
            loss = loss_fn(model(values), species)
            loss.backward()
            optimizer.step()
        if epoch % 5 == 4:
            model.eval()
            with torch.no_grad():
                right = sum((model(v).argmax(1) == s).sum().item() for v, s in test)
            print(f"epoch {epoch + 1}: train loss {loss.item():.4f}, {right} of 50 test flowers right")


if __name__ == "__main__":
    main()
