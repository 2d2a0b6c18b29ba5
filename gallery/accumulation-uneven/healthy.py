"""Characters of Python's own documentation: a GRU reads one paragraph at a time, eight of them make a step."""
import argparse
import inspect
import random
import string
import textwrap

import torch
import torch.nn.functional as F
from torch import nn

IGNORE = -100
ALPHABET = "\0" + string.printable
INDEX = {c: i for i, c in enumerate(ALPHABET)}


def paragraphs():
    found = []
    for module in (argparse, inspect, random, string, textwrap):
        for _, thing in inspect.getmembers(module, callable):
            for part in (inspect.getdoc(thing) or "").split("\n\n"):
                text = " ".join(part.split())
                if 3 <= len(text) <= 400 and all(c in INDEX for c in text):
                    found.append(text)
    return sorted(set(found))


def collate(texts):
    rows = [torch.tensor([0] + [INDEX[c] for c in t]) for t in texts]
    longest = max(map(len, rows))
    tokens = torch.zeros(len(rows), longest, dtype=torch.long)
    targets = torch.full((len(rows), longest - 1), IGNORE)
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = row
        targets[i, : len(row) - 1] = row[1:]
    return tokens[:, :-1], targets


class CharGRU(nn.Module):
    def __init__(self, size=64):
        super().__init__()
        self.embed = nn.Embedding(len(ALPHABET), 32)
        self.gru = nn.GRU(32, size, batch_first=True)
        self.out = nn.Linear(size, len(ALPHABET))

    def forward(self, tokens):
        return self.out(self.gru(self.embed(tokens))[0])


class Trainer:
    def __init__(self, model, lr=4e-3, accumulate=8):
        self.model, self.accumulate = model, accumulate
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01)

    def loss(self, tokens, targets, reduction="mean"):
        logits = self.model(tokens)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE, reduction=reduction)

    def step(self, window):
        total, count = 0.0, sum((targets != IGNORE).sum().item() for _, targets in window)
        for tokens, targets in window:
            loss = self.loss(tokens, targets, reduction="sum") / count
            loss.backward()
            total += loss.item()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return total

    def epoch(self, texts):
        self.model.train()
        random.shuffle(texts)
        batches = [collate([text]) for text in texts]
        size = self.accumulate
        losses = [self.step(batches[i : i + size]) for i in range(0, len(batches) - size + 1, size)]
        return sum(losses) / len(losses)

    @torch.no_grad()
    def evaluate(self, texts):
        self.model.eval()
        total, count = 0.0, 0
        for i in range(0, len(texts), 16):
            tokens, targets = collate(texts[i : i + 16])
            total += self.loss(tokens, targets, reduction="sum").item()
            count += (targets != IGNORE).sum().item()
        return total / count


def main():
    random.seed(0)
    torch.manual_seed(0)
    texts = paragraphs()
    random.shuffle(texts)
    held_out, texts = texts[:80], texts[80:]
    trainer = Trainer(CharGRU())
    for epoch in range(2):
        train = trainer.epoch(texts)
        print(f"epoch {epoch}: train {train:.3f}, held out {trainer.evaluate(held_out):.3f} nats per character")


if __name__ == "__main__":
    main()
