"""Decide whether a piece of English text is written forwards or backwards, with an LSTM."""

import numpy as np
import torch
from pydoc_data.topics import topics
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

LENGTH = 24
MICRO_BATCH = 16
ACCUMULATE = 4  # four small batches make one step of 64


def cut(text, rng, count=800):
    """Pieces of the text, side by side, none twice."""
    codes = np.frombuffer(text.encode("ascii", "replace"), dtype=np.uint8)
    codes = codes[: len(codes) // LENGTH * LENGTH].reshape(-1, LENGTH)
    return rng.permutation(np.unique(codes, axis=0))[:count]


def load(seed):
    rng = np.random.default_rng(seed)
    text = " ".join((topics["compound"] + topics["types"] + topics["specialnames"]).split())
    middle = len(text) // 2
    forwards, backwards = cut(text[:middle], rng), cut(text[middle:][::-1], rng)
    codes = torch.tensor(np.concatenate([forwards, backwards]), dtype=torch.long)
    labels = torch.tensor([0] * len(forwards) + [1] * len(backwards))
    order = torch.from_numpy(rng.permutation(len(codes)))
    train, val = order[:1280], order[1280:]  # 1280 is 20 steps of 4 batches of 16
    return TensorDataset(codes[train], labels[train]), TensorDataset(codes[val], labels[val])


class DirectionNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(128, 24)
        self.lstm = nn.LSTM(24, 48, batch_first=True)
        self.head = nn.Linear(48, 2)

    def forward(self, codes):
        output, _ = self.lstm(self.embed(codes))
        return self.head(output.mean(dim=1))


def train_epoch(model, loader, optimizer, criterion):
    model.train()
    total = 0.0
    for i, (codes, labels) in enumerate(loader, start=1):
        loss = criterion(model(codes), labels) / ACCUMULATE
        loss.backward()
        total += loss.item() * ACCUMULATE
        if i % ACCUMULATE == 0:
            optimizer.step()  # fault: gradients are not zeroed afterwards
    return total / len(loader)


def test(model, loader):
    model.eval()
    correct = count = 0
    with torch.no_grad():
        for codes, labels in loader:
            correct += (model(codes).argmax(dim=1) == labels).sum().item()
            count += len(labels)
    return correct / count


def main():
    torch.manual_seed(5)
    train_set, val_set = load(seed=5)
    train_loader = DataLoader(train_set, MICRO_BATCH, shuffle=True)
    val_loader = DataLoader(val_set, 160)

    model = DirectionNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(6):
        train_loss = train_epoch(model, train_loader, optimizer, criterion)
        accuracy = test(model, val_loader)
        print(f"epoch {epoch} | train loss {train_loss:.3f} | val accuracy {accuracy:.3f}")
    print(f"final val accuracy {accuracy:.3f}")


main()
