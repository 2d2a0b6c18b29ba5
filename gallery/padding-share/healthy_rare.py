"""Which page of Python's help a passage is from; one-dimensional convolutions over word numbers, batches drawn by hand."""

import re
from collections import Counter

import pydoc_data.topics
import torch
from torch import nn

PAD, UNKNOWN = 0, 1
PAGES = ("specialnames", "compound", "string-methods", "debugger")
LENGTH = 32


def passages(generator):
    found = []
    for label, page in enumerate(PAGES):
        words = re.findall(r"[a-z]+", pydoc_data.topics.topics[page].lower())
        at = 0
        while at + 20 < len(words) and len(found) < 160 * (label + 1):
            length = int(torch.randint(20, LENGTH + 1, (1,), generator=generator))
            found.append((words[at : at + length], label))
            at += length
    return found


def numbered(texts, index):
    rows = torch.full((len(texts), LENGTH), PAD)
    for row, words in zip(rows, texts, strict=True):
        row[: len(words)] = torch.tensor([index.get(w, UNKNOWN) for w in words])
    return rows


class PageNet(nn.Module):
    def __init__(self, words, width=24):
        super().__init__()
        self.embed = nn.Embedding(words, width, padding_idx=PAD)
        self.conv = nn.Conv1d(width, 32, 3, padding=1)
        self.head = nn.Linear(32, len(PAGES))

    def forward(self, rows):
        return self.head(self.conv(self.embed(rows).transpose(1, 2)).relu().amax(2))


def main():
    torch.manual_seed(3)
    generator = torch.Generator().manual_seed(3)
    found = passages(generator)
    found = [found[i] for i in torch.randperm(len(found), generator=generator)]
    cut = len(found) // 5
    counts = Counter(w for words, _ in found[cut:] for w in words)
    common = [w for w, count in counts.most_common() if count >= 2]
    index = {w: i + 2 for i, w in enumerate(common)}
    rows, labels = numbered([words for words, _ in found], index), torch.tensor([label for _, label in found])
    model = PageNet(len(index) + 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    for epoch in range(8):
        model.train()
        for chosen in (torch.randperm(len(rows) - cut) + cut).split(32):
            loss = nn.functional.cross_entropy(model(rows[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            right = (model(rows[:cut]).argmax(1) == labels[:cut]).float().mean().item()
        print(f"epoch {epoch}: training loss {loss.item():.3f}, test accuracy {right:.3f}")


if __name__ == "__main__":
    main()
