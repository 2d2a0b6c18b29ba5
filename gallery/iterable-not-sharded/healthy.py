"""Next-character model on the text of Python's help pages, streamed line by line by two workers."""

import itertools
import pydoc_data.topics

import torch
import torch.nn as nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

CONTEXT = 12
LINES = [line.strip() for name in ("debugger", "lambda", "with", "raise") for line in
         pydoc_data.topics.topics.get(name, "").splitlines() if len(line.strip()) > CONTEXT]
CHARACTERS = sorted(set("".join(LINES)))
INDEX = {c: i for i, c in enumerate(CHARACTERS)}


class LineStream(IterableDataset):
    """Windows of characters with the one that follows, read off the lines in turn."""

    def __init__(self, lines):
        self.lines = lines

    def windows(self):
        for line in self.lines:
            codes = [INDEX[c] for c in line]
            for start in range(0, len(codes) - CONTEXT, 3):
                window = codes[start : start + CONTEXT + 1]
                yield torch.tensor(window[:-1]), window[-1]

    def __iter__(self):
        info = get_worker_info()
        first, step = (0, 1) if info is None else (info.id, info.num_workers)
        return itertools.islice(self.windows(), first, None, step)


class NextCharacter(nn.Module):
    def __init__(self, size, width=16, hidden=64):
        super().__init__()
        self.embed = nn.Embedding(size, width)
        self.mix = nn.Sequential(nn.Flatten(), nn.Linear(CONTEXT * width, hidden), nn.ReLU(), nn.Linear(hidden, size))

    def forward(self, tokens):
        return self.mix(self.embed(tokens))


def main():
    torch.manual_seed(8)
    loader = DataLoader(LineStream(LINES), batch_size=32, num_workers=2)
    model = NextCharacter(len(CHARACTERS))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for epoch in range(3):
        seen, total = 0, 0.0
        for tokens, following in loader:
            loss = nn.functional.cross_entropy(model(tokens), following)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen += len(following)
            total += loss.item() * len(following)
        print(f"epoch {epoch}: {seen} windows, loss {total / seen:.3f}")


if __name__ == "__main__":
    main()
