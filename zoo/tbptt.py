"""Truncated back-propagation through time with a GRUCell over characters of standard-library prose."""
import inspect
import statistics

import torch
from torch import nn
from torch.nn import functional as F


class CharCell(nn.Module):
    def __init__(self, vocab, emb=24, hidden=64):
        super().__init__()
        self.hidden = hidden
        self.emb = nn.Embedding(vocab, emb)
        self.cell = nn.GRUCell(emb, hidden)
        self.out = nn.Linear(hidden, vocab)

    def start(self, batch):
        return torch.zeros(batch, self.hidden)

    def forward(self, token, h):
        h = self.cell(self.emb(token), h)
        return self.out(h), h


def load_text():
    source = inspect.getsource(statistics)[:16000].lower()
    alphabet = sorted(set(source))
    lookup = {c: i for i, c in enumerate(alphabet)}
    return torch.tensor([lookup[c] for c in source]), len(alphabet)


def as_lanes(ids, lanes):
    per_lane = len(ids) // lanes
    return ids[: per_lane * lanes].view(lanes, per_lane).t().contiguous()  # time major


def train_epoch(model, opt, lanes, k):
    model.train()
    h = model.start(lanes.shape[1])
    window_loss, in_window, total, steps = 0.0, 0, 0.0, lanes.shape[0] - 1
    for t in range(steps):
        logits, h = model(lanes[t], h)
        step_loss = F.cross_entropy(logits, lanes[t + 1])
        window_loss = window_loss + step_loss
        in_window += 1
        total += step_loss.item()
        if in_window == k or t == steps - 1:
            opt.zero_grad()
            (window_loss / in_window).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            opt.step()
            h = h.detach()  # truncate here
            window_loss, in_window = 0.0, 0
    return total / steps


def evaluate(model, lanes):
    model.eval()
    h, total = model.start(lanes.shape[1]), 0.0
    with torch.no_grad():
        for t in range(lanes.shape[0] - 1):
            logits, h = model(lanes[t], h)
            total += F.cross_entropy(logits, lanes[t + 1]).item()
    return total / (lanes.shape[0] - 1)


def main():
    torch.manual_seed(6)
    ids, vocab = load_text()
    cut = int(len(ids) * 0.85)
    train, valid = as_lanes(ids[:cut], 64), as_lanes(ids[cut:], 16)
    model = CharCell(vocab)
    opt = torch.optim.Adam(model.parameters(), lr=4e-3)
    print(f"{len(ids)} characters, {vocab} symbols, windows of 10")
    for epoch in range(8):
        loss = train_epoch(model, opt, train, k=10)
        print(f"epoch {epoch + 1}: train {loss:.3f} nats/char, held out {evaluate(model, valid):.3f}")
    print("end")


main()
