"""Self-supervised rotation prediction on unlabelled digits, judged with a linear probe."""
import argparse

import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Rotated(Dataset):
    """Returns an image turned by k*90 degrees and k; every image is used once per epoch."""

    def __init__(self, images, fixed=False):
        self.images, self.fixed = images, fixed

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        k = i % 4 if self.fixed else int(torch.randint(0, 4, ()))
        return torch.rot90(self.images[i], k, dims=(1, 2)), k


class Encoder(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv1 = nn.Conv2d(1, c, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(c)
        self.conv2 = nn.Conv2d(c, 2 * c, 3, padding=1, stride=2, bias=False)
        self.bn2 = nn.BatchNorm2d(2 * c)
        self.conv3 = nn.Conv2d(2 * c, 2 * c, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(2 * c)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        x = torch.relu(self.bn3(self.conv3(x)))
        return nn.functional.max_pool2d(x, 2).flatten(1)


@torch.no_grad()
def probe(encoder, train, train_labels, test, test_labels):
    encoder.eval()
    clf = LogisticRegression(max_iter=300, C=0.1).fit(encoder(train).numpy(), train_labels)
    return clf.score(encoder(test).numpy(), test_labels)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--epochs", type=int, default=14)
    ap.add_argument("--lr", type=float, default=2e-3)
    ap.add_argument("--channels", type=int, default=12)
    ap.add_argument("--seed", type=int, default=23)
    a = ap.parse_args()
    torch.manual_seed(a.seed)

    d = load_digits()
    order = torch.randperm(len(d.target))
    tr, va = order[:1300], order[1300:]
    images = torch.tensor(d.images, dtype=torch.float32).unsqueeze(1)
    images = (images - images[tr].mean()) / images[tr].std()
    labels = torch.tensor(d.target)

    train_loader = DataLoader(Rotated(images[tr]), batch_size=50, shuffle=True)
    val_loader = DataLoader(Rotated(images[va], fixed=True), batch_size=250)
    encoder = Encoder(a.channels)
    head = nn.Linear(2 * a.channels * 4, 4)
    model = nn.Sequential(encoder, head)
    optimizer = torch.optim.Adam(model.parameters(), lr=a.lr)
    criterion = nn.CrossEntropyLoss()

    for epoch in range(1, a.epochs + 1):
        model.train()
        total = 0.0
        for x, k in train_loader:
            loss = criterion(model(x), k)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(k)
        model.eval()
        val_total = hits = 0.0
        with torch.no_grad():
            for x, k in val_loader:
                out = model(x)
                val_total += criterion(out, k).item() * len(k)
                hits += (out.argmax(1) == k).sum().item()
        print(f"epoch {epoch:2d}: rotation loss {total / len(tr):.4f}, val {val_total / len(va):.4f}, "
              f"val rotation acc {hits / len(va):.3f}")

    score = probe(encoder, images[tr], labels[tr].numpy(), images[va], labels[va].numpy())
    print(f"linear probe digit accuracy: {score:.3f}")


if __name__ == "__main__":
    main()
