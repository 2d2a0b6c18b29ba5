"""Written sums, digit by digit: a GRU learns to complete lines such as `407+58=465.`; four micro-batches make a step."""
import random

import torch
import torch.nn.functional as F
from torch import nn

ALPHABET = "_0123456789+=."
INDEX = {c: i for i, c in enumerate(ALPHABET)}
ROWS, MICRO = 5, 4


def written(rng):
    numbers = [rng.randrange(10 ** rng.randint(1, 6)) for _ in range(rng.randint(2, 6))]
    return "+".join(map(str, numbers)) + f"={sum(numbers)}."


def collate(lines):
    width = max(map(len, lines))
    rows = torch.tensor([[INDEX[c] for c in line.ljust(width, "_")] for line in lines])
    return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()


class Completer(nn.Module):
    def __init__(self, width=48):
        super().__init__()
        self.embed = nn.Embedding(len(ALPHABET), 16, padding_idx=0)
        self.gru = nn.GRU(16, width, batch_first=True)
        self.out = nn.Linear(width, len(ALPHABET))

    def forward(self, tokens):
        return self.out(self.gru(self.embed(tokens))[0])


def nats(model, tokens, targets, reduction):
    return F.cross_entropy(model(tokens).flatten(0, 1), targets.flatten(), ignore_index=0, reduction=reduction)


def update(model, optimizer, window):
    shown = 0.0
    for tokens, targets in window:
        loss = nats(model, tokens, targets, "mean") / MICRO  # fault: a mean over 70 digits counts as much as one over 140
        loss.backward()
        shown += loss.item()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return shown


def main():
    torch.manual_seed(5)
    rng = random.Random(22)
    lines = [written(rng) for _ in range(1440)]
    held_out, lines = lines[:160], lines[160:]
    model = Completer()
    optimizer = torch.optim.Adam(model.parameters(), lr=6e-3)
    for epoch in range(2):
        model.train()
        rng.shuffle(lines)
        batches = [collate(lines[i : i + ROWS]) for i in range(0, len(lines) - ROWS + 1, ROWS)]
        losses = [update(model, optimizer, batches[i : i + MICRO]) for i in range(0, len(batches) - MICRO + 1, MICRO)]
        model.eval()
        tokens, targets = collate(held_out)
        with torch.no_grad():
            judged = nats(model, tokens, targets, "sum").item() / (targets != 0).sum().item()
        print(f"epoch {epoch}: train {sum(losses) / len(losses):.3f}, held out {judged:.3f} nats per digit")


if __name__ == "__main__":
    main()
