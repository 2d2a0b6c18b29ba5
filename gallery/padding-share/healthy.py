"""Tell questions of Python's help pages apart by topic words: an embedding bag over padded rows."""

import pydoc_data.topics
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def sentences():
    """Sentences of two kinds of help pages: about classes and objects (0), about statements (1)."""
    pages = pydoc_data.topics.topics
    wanted = {"objects": 0, "class": 0, "specialnames": 0, "import": 1, "try": 1, "compound": 1}
    for page, label in wanted.items():
        for sentence in pages[page].replace("\n", " ").split(". "):
            words = sentence.lower().split()[:12]
            if len(words) >= 3:
                yield words, label


LENGTH = 12


def encode():
    pairs = list(sentences())
    vocabulary = {word: i + 1 for i, word in enumerate(sorted({w for words, _ in pairs for w in words}))}
    rows = torch.zeros(len(pairs), LENGTH, dtype=torch.long)
    for i, (words, _) in enumerate(pairs):
        rows[i, : len(words)] = torch.tensor([vocabulary[w] for w in words])
    return rows, torch.tensor([label for _, label in pairs]), len(vocabulary) + 1


class TopicNet(nn.Module):
    def __init__(self, words):
        super().__init__()
        self.embed = nn.Embedding(words, 24, padding_idx=0)
        self.head = nn.Linear(24, 2)

    def forward(self, rows):
        kept = (rows != 0).unsqueeze(-1)
        mean = (self.embed(rows) * kept).sum(1) / kept.sum(1)
        return self.head(mean)


def main():
    torch.manual_seed(17)
    rows, labels, words = encode()
    order = torch.randperm(len(rows))
    rows, labels = rows[order], labels[order]
    cut = int(0.8 * len(rows))
    train = DataLoader(TensorDataset(rows[:cut], labels[:cut]), batch_size=32, shuffle=True)
    test = DataLoader(TensorDataset(rows[cut:], labels[cut:]), batch_size=64)
    net = TopicNet(words)
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    for epoch in range(4):
        for x, y in train:
            loss = nn.functional.cross_entropy(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            hits = torch.cat([net(x).argmax(1) == y for x, y in test])
        print(f"epoch {epoch}: accuracy {hits.float().mean().item():.3f}")


if __name__ == "__main__":
    main()
