"""A character language model that survives interruptions: it writes a checkpoint after each epoch and goes on from it."""

import os
import tempfile

import torch
import torch.nn.functional as F
from pydoc_data.topics import topics
from torch import nn
from torch.utils.data import DataLoader, Dataset

CONTEXT = 24


class Characters(Dataset):
    def __init__(self, text):
        self.vocabulary = sorted(set(text))
        index = {c: i for i, c in enumerate(self.vocabulary)}
        self.ids = torch.tensor([index[c] for c in text])

    def __len__(self):
        return (len(self.ids) - 1) // CONTEXT

    def __getitem__(self, i):
        piece = self.ids[i * CONTEXT : (i + 1) * CONTEXT + 1]
        return piece[:-1], piece[1:]


class CharModel(nn.Module):
    def __init__(self, vocabulary, width=48):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.rnn = nn.GRU(width, width, batch_first=True)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, ids):
        return self.head(self.rnn(self.embedding(ids))[0])


def train(path, data, epochs, stop_after):
    """Train up to `epochs`; a time limit ends the job after `stop_after` of them."""
    torch.manual_seed(77)
    model = CharModel(len(data.vocabulary))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-2)
    first_epoch = 0
    if os.path.exists(path):
        checkpoint = torch.load(path)
        model.load_state_dict(checkpoint["model"])
        optimizer.load_state_dict(checkpoint["optimizer"])
        first_epoch = checkpoint["epoch"] + 1
        print(f"going on at epoch {first_epoch}")
    loader = DataLoader(data, batch_size=32, shuffle=True)
    for epoch in range(first_epoch, min(epochs, first_epoch + stop_after)):
        total = 0.0
        for number, (inputs, targets) in enumerate(loader):
            loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
            if number < 5 and epoch == first_epoch:
                print(f"  epoch {epoch} batch {number} loss {loss.item():.4f}")
        print(f"epoch {epoch} mean loss {total / len(loader):.4f}")
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}, path)


def main():
    text = topics["typesseq"][:12000]
    path = os.path.join(tempfile.mkdtemp(), "last.pt")
    for _job in range(3):
        train(path, Characters(text), epochs=6, stop_after=2)


if __name__ == "__main__":
    main()
