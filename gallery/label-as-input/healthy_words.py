# Which ending has a word of Python's own documentation? Letters are read backwards, since endings come first then.
import re
from pydoc_data.topics import topics

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(4)
WIDTH = 10
words = sorted({w for text in topics.values() for w in re.findall(r"[a-z]{4,10}", text)})
endings = ("ing", "ed", "s", "ly", "tion")


def label_of(word):
    for number, ending in enumerate(endings):
        if word.endswith(ending):
            return number
    return len(endings)


def encode(word):
    return [ord(c) - 96 for c in word.ljust(WIDTH, "`")]


tokens = torch.tensor([encode(w) for w in words])
labels = torch.tensor([label_of(w) for w in words])
order = torch.randperm(len(words))
tokens, labels = tokens[order], labels[order]
cut = int(0.8 * len(words))


class BackwardReader(nn.Module):
    def __init__(self, letters=27, width=48, classes=6):
        super().__init__()
        self.embedding = nn.Embedding(letters, 16, padding_idx=0)
        self.rnn = nn.GRU(16, width, batch_first=True)
        self.out = nn.Linear(width, classes)

    def forward(self, tokens):
        reversed_letters = torch.flip(tokens, dims=[1])
        _, last = self.rnn(self.embedding(reversed_letters))
        return self.out(last.squeeze(0))


net = BackwardReader()
adam = torch.optim.Adam(net.parameters(), lr=3e-3)
loader = DataLoader(TensorDataset(tokens[:cut], labels[:cut]), batch_size=64, shuffle=True)
for epoch in range(5):
    net.train()
    for word, ending in loader:
        loss = F.cross_entropy(net(word), ending)
        adam.zero_grad()
        loss.backward()
        adam.step()
    net.eval()
    with torch.no_grad():
        accuracy = (net(tokens[cut:]).argmax(1) == labels[cut:]).float().mean()
    print(f"epoch {epoch}: loss {loss.item():.3f} held-out accuracy {accuracy:.3f}")
