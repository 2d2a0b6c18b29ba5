"""Is a sentence of the Python documentation from its first or its second half? Words are numbered as they come."""
import random
import re
from pydoc_data.topics import topics

import torch
import torch.nn.functional as F
from torch import nn

random.seed(6)
torch.manual_seed(6)
LENGTH = 20
text = [re.findall(r"[a-z]{2,}", topics[name].lower()) for name in sorted(topics)]
chunks = []
for half, part in enumerate((text[: len(text) // 2], text[len(text) // 2 :])):
    words = [w for topic in part for w in topic]
    chunks += [(words[i : i + LENGTH], half) for i in range(0, len(words) - LENGTH, LENGTH)]
random.shuffle(chunks)
learned, held = chunks[:2400], chunks[2400:]


class Numbering:
    """0 fills up, 1 is an unknown word; others get the next number until it is closed."""

    def __init__(self):
        self.of, self.open = {}, True

    def __call__(self, words):
        if self.open:
            for word in words:
                self.of.setdefault(word, len(self.of) + 2)
        return [self.of.get(word, 1) for word in words]


def encode(pieces, numbering):
    rows = torch.tensor([numbering(words) for words, _ in pieces])
    return rows, torch.tensor([half for _, half in pieces])


numbering = Numbering()
x, y = encode(learned, numbering)
numbering.open = False
x_held, y_held = encode(held, Numbering())  # fault: it begins again at 2


class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(8000, 32, padding_idx=0)
        self.drop = nn.Dropout(0.2)
        self.out = nn.Linear(32, 2)

    def forward(self, rows):
        return self.out(self.drop(self.words(rows).mean(1)))


net = Reader()
optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
for epoch in range(6):
    net.train()
    for rows in torch.randperm(len(x)).split(50):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x[rows]), y[rows])
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        right = (net(x_held).argmax(1) == y_held).double().mean().item()
    print(f"epoch {epoch}: loss {loss.item():.3f}, held out {right:.3f}")
