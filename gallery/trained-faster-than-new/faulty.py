"""A new scanner: reuse the features of the old one, ten labelled examples per digit."""
import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, TensorDataset

SEED = 13
LR_HEAD, LR_BACKBONE = 1e-2, 2e-4


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1 = nn.Conv2d(1, 16, 3, padding=1)
        self.c2 = nn.Conv2d(16, 32, 3, padding=1)
        self.fc = nn.Linear(32 * 4, 32)

    def forward(self, x):
        x = torch.max_pool2d(torch.relu(self.c1(x)), 2)
        x = torch.max_pool2d(torch.relu(self.c2(x)), 2)
        return torch.relu(self.fc(x.flatten(1)))


class Classifier(nn.Module):
    def __init__(self, backbone, n_classes):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(32, n_classes)

    def forward(self, x):
        return self.head(self.backbone(x))


def loaders(images, labels, train_size):
    x_tr, x_va, y_tr, y_va = train_test_split(images, labels, train_size=train_size,
                                              stratify=labels, random_state=SEED)
    gen = torch.Generator().manual_seed(SEED)
    return (DataLoader(TensorDataset(x_tr, y_tr), batch_size=25, shuffle=True, generator=gen),
            DataLoader(TensorDataset(x_va, y_va), batch_size=256))


def run(tag, model, optimizer, train_loader, val_loader, epochs):
    criterion = nn.CrossEntropyLoss()
    for epoch in range(epochs):
        model.train()
        total, n = 0.0, 0
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
            n += len(y)
        model.eval()
        v_total, hit, m = 0.0, 0, 0
        with torch.no_grad():
            for x, y in val_loader:
                out = model(x)
                v_total += criterion(out, y).item() * len(y)
                hit += (out.argmax(1) == y).sum().item()
                m += len(y)
        print(f"{tag} {epoch + 1:2d}: train {total / n:.4f} val {v_total / m:.4f} acc {hit / m:.3f}")


def main():
    torch.manual_seed(SEED)
    images, labels = load_digits(return_X_y=True)
    images = torch.tensor(images, dtype=torch.float32).view(-1, 1, 8, 8) / 16.0
    labels = torch.tensor(labels)
    images = (images - 0.3) / 0.38
    first, second = torch.randperm(len(labels)).split([1000, len(labels) - 1000])

    backbone = Backbone()
    source = Classifier(backbone, 10)
    tr, va = loaders(images[first], labels[first], 0.8)
    run("pretrain", source, torch.optim.Adam(source.parameters(), lr=2e-3), tr, va, epochs=6)

    rescanned = 0.8 * images[second] + 0.1 + 0.25 * torch.randn(images[second].shape)
    target = Classifier(backbone, 10)
    optimizer = torch.optim.Adam([
        {"params": target.backbone.parameters(), "lr": LR_HEAD},  # fault: the two rates are exchanged
        {"params": target.head.parameters(), "lr": LR_BACKBONE},
    ])
    tr, va = loaders(rescanned, labels[second], 100)
    run("finetune", target, optimizer, tr, va, epochs=15)


if __name__ == "__main__":
    main()
