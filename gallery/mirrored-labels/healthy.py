"""Fields seen from above: water, crops and bare soil, pixel by pixel. Batches are made with NumPy."""

import numpy as np
import torch
from torch import nn

SIZE = 20


def scene(rng):
    kind = np.zeros((SIZE, SIZE), np.int64)
    row, column = rng.integers(2, 9, 2)
    kind[row : row + 8, : column + 4] = 1
    kind[rng.integers(12, 16) :, rng.integers(8, 14) :] = 2
    colours = np.array([[0.5, 0.4, 0.3], [0.2, 0.6, 0.2], [0.1, 0.2, 0.7]])
    return colours[kind].transpose(2, 0, 1) + 0.12 * rng.normal(size=(3, SIZE, SIZE)), kind


def batches(images, kinds, size, rng):
    order = rng.permutation(len(images))
    for start in range(0, len(order) - size + 1, size):
        x, y = [], []
        for i in order[start : start + size]:
            image, kind = images[i], kinds[i]
            if rng.random() < 0.5:
                image, kind = image[:, ::-1], kind[::-1]
            if rng.random() < 0.5:
                image, kind = image * rng.uniform(0.9, 1.1), kind
            x.append(image)
            y.append(kind)
        yield torch.tensor(np.stack(x), dtype=torch.float32), torch.tensor(np.stack(y))


def main():
    torch.manual_seed(2)
    rng = np.random.default_rng(2)
    scenes = [scene(rng) for _ in range(200)]
    images = np.stack([s[0] for s in scenes]) - 0.35
    kinds = np.stack([s[1] for s in scenes])
    net = nn.Sequential(
        nn.Conv2d(3, 16, 5, padding=2), nn.ReLU(), nn.Conv2d(16, 16, 5, padding=2), nn.ReLU(), nn.Conv2d(16, 3, 1)
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(12):
        net.train()
        losses = []
        for x, y in batches(images[:160], kinds[:160], 16, rng):
            optimizer.zero_grad()
            loss = criterion(net(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        net.eval()
        with torch.no_grad():
            found = net(torch.tensor(images[160:], dtype=torch.float32)).argmax(1)
        right = (found == torch.tensor(kinds[160:])).float().mean().item()
        print(f"epoch {epoch:2d}  loss {np.mean(losses):.3f}  pixels right {right:.3f}")


if __name__ == "__main__":
    main()
