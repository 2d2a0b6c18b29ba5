"""Marks the spans between brackets in made-up log lines, token by token, on two processes.

torchrun --nproc-per-node 2 spans.py
"""

import os

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils.rnn import pad_sequence

RANK, WORLD = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
WORDS, OPEN, CLOSE, IGNORED = 30, 1, 2, -100


def log_line(rng):
    """Tokens, and for each whether it lies within brackets. Most lines are short; stack traces are long."""
    length = int(torch.randint(4, 12, (), generator=rng)) if torch.rand((), generator=rng) < 0.6 else 60
    tokens = torch.randint(3, WORDS, (length,), generator=rng)
    start = int(torch.randint(0, length - 2, (), generator=rng))
    end = int(torch.randint(start + 1, length, (), generator=rng))
    tokens[start], tokens[end] = OPEN, CLOSE
    inside = torch.zeros(length, dtype=torch.long)
    inside[start : end + 1] = 1
    return tokens, inside


def collate(lines):
    tokens, inside = zip(*lines, strict=True)
    return pad_sequence(tokens, batch_first=True), pad_sequence(inside, batch_first=True, padding_value=IGNORED)


class Marker(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(WORDS, 24, padding_idx=0)
        self.reader = nn.GRU(24, 24, batch_first=True, bidirectional=True)
        self.head = nn.Linear(48, 2)

    def forward(self, tokens):
        return self.head(self.reader(self.embed(tokens))[0])


def token_loss(logits, labels):
    total = (labels != IGNORED).sum()
    if WORLD > 1:
        dist.all_reduce(total)
    summed = nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum")
    return summed * WORLD / total


def by_length(lines, size, rng):
    """Batches of lines of about the same length, in random order, dealt out to the processes."""
    order = sorted(torch.randperm(len(lines), generator=rng).tolist(), key=lambda i: len(lines[i][0]))
    starts = torch.randperm(len(order) // size, generator=rng).tolist()
    dealt = starts[: len(starts) // WORLD * WORLD][RANK::WORLD]
    return [[lines[i] for i in order[s * size : (s + 1) * size]] for s in dealt]


def main():
    if WORLD > 1:
        dist.init_process_group("gloo")
    torch.manual_seed(7)
    rng = torch.Generator().manual_seed(7)
    train, held_out = ([log_line(rng) for _ in range(n)] for n in (768, 128))
    model = Marker()
    trained = DistributedDataParallel(model) if WORLD > 1 else model
    optimizer = torch.optim.Adam(trained.parameters(), lr=4e-3)
    for epoch in range(6):
        model.train()
        for lines in by_length(train, 16, rng):
            tokens, labels = collate(lines)
            loss = token_loss(trained(tokens), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        right = tokens_seen = 0
        with torch.no_grad():
            for line in held_out:  # one by one, without padding
                tokens, labels = collate([line])
                right += (model(tokens).argmax(-1) == labels).sum().item()
                tokens_seen += labels.numel()
        if RANK == 0:
            print(f"epoch {epoch}: {right / tokens_seen:.3f} of the held-out tokens are marked rightly")
    if WORLD > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
