"""Denoise-and-classify: digits with random shifts and noise, prepared by two workers."""

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset, get_worker_info


class NoisyDigits(Dataset):
    def __init__(self, images, labels, seed):
        self.images = images.astype(np.float32) / 16.0
        self.labels = labels
        self.rng = np.random.default_rng(seed)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        dx, dy = self.rng.integers(-1, 2, size=2)
        image = np.roll(self.images[i], (dx, dy), axis=(0, 1))
        image = image + self.rng.normal(0.0, 0.15, size=image.shape).astype(np.float32)
        return torch.from_numpy(image).unsqueeze(0), int(self.labels[i])


def fresh_generator(worker):
    """Give this worker's copy of the data set a generator of its own."""
    info = get_worker_info()
    info.dataset.rng = np.random.default_rng(info.seed)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 12, 3, padding=1)
        self.fc1 = nn.Linear(12 * 16, 48)
        self.fc2 = nn.Linear(48, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv(x)), 2)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


def main():
    torch.manual_seed(4)
    digits = load_digits()
    train = NoisyDigits(digits.images[:1300], digits.target[:1300], seed=4)
    test_x = torch.tensor(digits.images[1300:] / 16.0, dtype=torch.float32).unsqueeze(1)
    test_y = torch.tensor(digits.target[1300:])
    loader = DataLoader(train, batch_size=50, shuffle=True, num_workers=2, worker_init_fn=fresh_generator)

    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    for epoch in range(3):
        net.train()
        for images, labels in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(net(images), labels)
            loss.backward()
            optimizer.step()
        net.eval()
        with torch.no_grad():
            accuracy = (net(test_x).argmax(1) == test_y).float().mean()
        print(f"epoch {epoch + 1} loss {loss:.3f} test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
