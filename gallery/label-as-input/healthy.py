"""Handwritten digits read row by row: a GRU over sequences of different lengths, packed so that no blank row is read."""
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence
from torch.utils.data import DataLoader, Dataset


class RowsOfDigits(Dataset):
    """Each digit is the list of its rows, without the last ones where they are nearly blank."""

    def __init__(self, images, labels):
        self.items = []
        for image, label in zip(images, labels):
            last = np.flatnonzero(image.sum(1) > 24).max() + 1
            self.items.append((image[:last].astype("float32") / 16, int(label)))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        rows, label = self.items[i]
        return torch.from_numpy(rows), label


def collate(batch):
    sequences, labels = zip(*batch)
    lengths = torch.tensor([len(s) for s in sequences])
    return pad_sequence(sequences, batch_first=True), lengths, torch.tensor(labels)


class Reader(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        self.embed = nn.Linear(8, 32)
        self.gru = nn.GRU(32, width, batch_first=True)
        self.head = nn.Linear(width, 10)

    def forward(self, rows, lengths):
        lengths, order = lengths.sort(descending=True)
        x = torch.relu(self.embed(rows[order]))
        _, state = self.gru(pack_padded_sequence(x, lengths, batch_first=True))
        return self.head(state[-1])[order.argsort()]


def run():
    torch.manual_seed(11)
    digits = load_digits()
    train = RowsOfDigits(digits.images[:1400], digits.target[:1400])
    test = RowsOfDigits(digits.images[1400:], digits.target[1400:])
    train_loader = DataLoader(train, batch_size=40, shuffle=True, collate_fn=collate)
    test_loader = DataLoader(test, batch_size=200, collate_fn=collate)
    model = Reader()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(5):
        model.train()
        for rows, lengths, labels in train_loader:
            loss = criterion(model(rows, lengths), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        right = 0
        with torch.no_grad():
            for rows, lengths, labels in test_loader:
                right += (model(rows, lengths).argmax(1) == labels).sum().item()
        print(f"epoch {epoch}: loss {loss.item():.3f}, accuracy {right / len(test):.3f}")


if __name__ == "__main__":
    run()
