"""Digits as points: a metric is learnt with a batch-hard triplet loss, in mixed precision."""
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.amp import GradScaler, autocast

MARGIN = 0.5


def seed_all(seed):
    torch.manual_seed(seed)
    np.random.seed(seed)


def balanced_batches(labels, classes_per_batch, per_class, batches):
    rows = [np.flatnonzero(labels == c) for c in range(10)]
    for _ in range(batches):
        chosen = np.random.choice(10, classes_per_batch, replace=False)
        yield np.concatenate([np.random.choice(rows[c], per_class, replace=False) for c in chosen])


def pairwise_distance(points):
    squares = points.pow(2).sum(1)
    squared = squares[:, None] + squares[None, :] - 2 * points @ points.t()
    return squared.clamp(min=0).sqrt()  # fault: no finite gradient at 0, where a point meets itself; the scaler then skips


def batch_hard(points, labels):
    distance = pairwise_distance(points)
    same = labels[:, None] == labels[None, :]
    furthest = distance.masked_fill(~same, 0).max(1).values
    nearest = distance.masked_fill(same, 1e4).min(1).values
    return torch.relu(furthest - nearest + MARGIN).mean()


def nearest_neighbour_accuracy(net, known, known_labels, new, new_labels):
    net.eval()
    with torch.no_grad():
        match = torch.cdist(net(new), net(known)).argmin(1)
    net.train()
    return (known_labels[match] == new_labels).float().mean().item()


def main():
    seed_all(5)
    images, digits = load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split(images / 8 - 1, digits, test_size=0.25, stratify=digits, random_state=5)
    x, x_test = torch.tensor(x, dtype=torch.float32), torch.tensor(x_test, dtype=torch.float32)
    labels, test_labels = torch.tensor(y), torch.tensor(y_test)

    net = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 8))
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    scaler = GradScaler("cpu", init_scale=4096)
    for epoch in range(6):
        total = 0.0
        for rows in balanced_batches(y, 6, 8, 25):
            optimizer.zero_grad(set_to_none=True)
            with autocast("cpu", dtype=torch.float16):
                points = net(x[rows])
            loss = batch_hard(points.float(), labels[rows])
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            total += loss.item() / 25
        accuracy = nearest_neighbour_accuracy(net, x, labels, x_test, test_labels)
        print(f"epoch {epoch} loss {total:.4f} nearest neighbour {accuracy:.4f}")


if __name__ == "__main__":
    main()
