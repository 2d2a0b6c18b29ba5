"""Which help topic is this line from? Bags of characters of Python's own documentation, with accumulated gradients."""
import pydoc_data.topics

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, random_split

TOPICS = ["assignment", "comparisons", "formatstrings", "import", "numeric-types", "typesmapping"]
GRAMS, ACCUMULATE = 512, 8


class Lines(Dataset):
    """lines of a few topics, each as counts of hashed letter pairs"""

    def __init__(self):
        self.rows = []
        for label, topic in enumerate(TOPICS):
            for line in pydoc_data.topics.topics[topic].splitlines():
                if len(line.strip()) > 25:
                    self.rows.append((self.encode(line.strip()), label))

    @staticmethod
    def encode(line):
        counts = np.zeros(GRAMS, dtype=np.float32)
        for a, b in zip(line, line[1:]):
            counts[(31 * ord(a) + 7 * ord(b)) % GRAMS] += 1
        return np.sqrt(counts)

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return self.rows[i]


def train(model, loader, optimizer, criterion):
    model.train()
    n_batches, last = len(loader), len(loader) % ACCUMULATE or ACCUMULATE
    total = 0.0
    for i, (counts, labels) in enumerate(loader):
        window = last if i >= n_batches - last else ACCUMULATE
        loss = criterion(model(counts), labels)
        (loss / window).backward()
        if (i + 1) % ACCUMULATE == 0:  # fault: what is left at the end is added to the first step of the next epoch
            optimizer.step()
            optimizer.zero_grad()
        total += loss.item()
    return total / n_batches


def accuracy(model, loader):
    model.eval()
    with torch.no_grad():
        right = sum((model(counts).argmax(1) == labels).sum().item() for counts, labels in loader)
    return right / len(loader.dataset)


if __name__ == "__main__":
    torch.manual_seed(10)
    lines = Lines()
    train_lines, test_lines = random_split(lines, [0.8, 0.2])
    size = next(s for s in range(12, 40) if -(-len(train_lines) // s) % ACCUMULATE >= 5)  # some batches are left over
    train_loader = DataLoader(train_lines, batch_size=size, shuffle=True)
    test_loader = DataLoader(test_lines, batch_size=100)
    model = nn.Sequential(nn.Linear(GRAMS, 48), nn.ReLU(), nn.Dropout(0.3), nn.Linear(48, len(TOPICS)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.5)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(12):
        loss = train(model, train_loader, optimizer, criterion)
        if epoch % 3 == 2:
            print(f"epoch {epoch} loss {loss:.3f} test accuracy {accuracy(model, test_loader):.3f}")
