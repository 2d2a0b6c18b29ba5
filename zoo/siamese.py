"""Siamese network on digit pairs with the margin contrastive loss."""
import random

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, Dataset

random.seed(0)
torch.manual_seed(0)


class PairDataset(Dataset):
    """Half of the pairs show the same digit. Pairs are drawn once, so an epoch is reproducible."""

    def __init__(self, images, labels, n_pairs, rng):
        self.images = images
        by_class = {c: [i for i, l in enumerate(labels) if l == c] for c in range(10)}
        self.pairs = []
        for k in range(n_pairs):
            if k % 2 == 0:
                c = rng.randrange(10)
                i, j = rng.sample(by_class[c], 2)
                self.pairs.append((i, j, 1.0))
            else:
                c, d = rng.sample(range(10), 2)
                self.pairs.append((rng.choice(by_class[c]), rng.choice(by_class[d]), 0.0))

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        i, j, same = self.pairs[index]
        return self.images[i], self.images[j], torch.tensor(same)


class Embedder(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(8 * 4 * 4, 64)
        self.fc2 = nn.Linear(64, 16)

    def forward(self, x):
        x = self.pool(torch.relu(self.conv(x)))
        return self.fc2(torch.relu(self.fc1(x.flatten(1))))


class Siamese(nn.Module):
    def __init__(self):
        super().__init__()
        self.branch = Embedder()

    def forward(self, a, b):
        return nn.functional.pairwise_distance(self.branch(a), self.branch(b))


def contrastive_loss(distance, same, margin=1.5):
    return (same * distance.pow(2) + (1 - same) * torch.clamp(margin - distance, min=0).pow(2)).mean()


X, y = load_digits(return_X_y=True)
X_tr, X_va, y_tr, y_va = train_test_split(X, y, test_size=0.25, random_state=0, stratify=y)
to_image = lambda a: torch.tensor((a - X_tr.mean()) / X_tr.std(), dtype=torch.float32).view(-1, 1, 8, 8)
train_loader = DataLoader(PairDataset(to_image(X_tr), y_tr.tolist(), 2400, random), batch_size=60, shuffle=True)
valid_loader = DataLoader(PairDataset(to_image(X_va), y_va.tolist(), 600, random), batch_size=150)

net = Siamese()
optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
for epoch in range(1, 7):
    net.train()
    running = 0.0
    for a, b, same in train_loader:
        loss = contrastive_loss(net(a, b), same)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        running += loss.item() * len(same)
    net.eval()
    val_loss, right = 0.0, 0
    with torch.no_grad():
        for a, b, same in valid_loader:
            d = net(a, b)
            val_loss += contrastive_loss(d, same).item() * len(same)
            right += ((d < 0.75).float() == same).sum().item()
    n = len(valid_loader.dataset)
    print(f"epoch {epoch}: train {running / len(train_loader.dataset):.4f} val {val_loss / n:.4f} pair accuracy {right / n:.3f}")
print("done")
