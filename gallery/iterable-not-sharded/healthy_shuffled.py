"""Progression of diabetes from clinical measurements: patients' records are streamed and mixed by a small reservoir."""

import random

import torch
from sklearn.datasets import load_diabetes
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info


class Records(IterableDataset):
    """Standardised records with their targets, in an order that differs from worker to worker and epoch to epoch."""

    def __init__(self, x, y, reservoir=96):
        self.x, self.y, self.reservoir = x, y, reservoir
        self.epoch = 0

    def in_order(self):
        info = get_worker_info()
        first, step = (info.id, info.num_workers) if info else (0, 1)
        return zip(self.x[first::step], self.y[first::step])

    def __iter__(self):
        info = get_worker_info()
        chooser = random.Random(100 * self.epoch + (info.id if info else 0))
        waiting = []
        for record in self.in_order():
            waiting.append(record)
            if len(waiting) > self.reservoir:
                yield waiting.pop(chooser.randrange(len(waiting)))
        chooser.shuffle(waiting)
        yield from waiting


def main():
    torch.manual_seed(13)
    x, y = (torch.tensor(a, dtype=torch.float32) for a in load_diabetes(return_X_y=True))
    order = torch.randperm(len(x))
    x, y = x[order] / x.std(0), (y[order] - y.mean()) / y.std()
    stream = Records(x[:352], y[:352])
    loader = DataLoader(stream, batch_size=32, num_workers=2)
    model = nn.Sequential(nn.Linear(10, 32), nn.GELU(), nn.Linear(32, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    for epoch in range(6):
        stream.epoch = epoch
        total = seen = 0
        for inputs, target in loader:
            loss = nn.functional.mse_loss(model(inputs).squeeze(1), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(target)
            seen += len(target)
        with torch.no_grad():
            error = nn.functional.mse_loss(model(x[352:]).squeeze(1), y[352:])
        print(f"epoch {epoch}: {seen} records, training error {total / seen:.3f}, test error {error:.3f}")


if __name__ == "__main__":
    main()
