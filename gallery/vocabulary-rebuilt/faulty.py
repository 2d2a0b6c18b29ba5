"""Which standard library module does a chunk of code come from? Bag of words classifier."""
import inspect
import random
import re
from collections import Counter
import argparse, ast, ipaddress, pickle, tarfile, unittest.mock as mock, difflib, datetime, logging, threading
import torch
from torch import nn

MODULES = [argparse, ipaddress, pickle, tarfile, mock, difflib, logging, threading]
WORD = re.compile(r"[A-Za-z]{2,}")


def load(chunk=8):
    samples = []
    for k, mod in enumerate(MODULES):
        lines = [l for l in inspect.getsource(mod).splitlines() if l.strip()]
        for i in range(0, len(lines) - chunk, chunk):
            words = [w.lower() for w in WORD.findall(" ".join(lines[i:i + chunk]))]
            if len(words) >= 8:
                samples.append((words, k))
    seen, out = set(), []
    for w, k in samples:
        if tuple(w) not in seen:
            seen.add(tuple(w))
            out.append((w, k))
    return out


def build_vocab(samples, max_size=3000):
    cnt = Counter(w for ws, _ in samples for w in ws)
    return {w: i + 1 for i, (w, _) in enumerate(cnt.most_common(max_size))}


def vectorise(samples, vocab):
    bags = [[vocab.get(w, 0) for w in ws] for ws, _ in samples]
    return bags, [k for _, k in samples]


def as_batch(bags, labels, idx):
    flat = torch.tensor([t for i in idx for t in bags[i]])
    lens = torch.tensor([0] + [len(bags[i]) for i in idx][:-1])
    return flat, lens.cumsum(0), torch.tensor([labels[i] for i in idx])


class BagNet(nn.Module):
    def __init__(self, n_vocab, n_cls):
        super().__init__()
        self.bag = nn.EmbeddingBag(n_vocab, 48, mode="mean")
        self.drop = nn.Dropout(0.3)
        self.fc = nn.Linear(48, n_cls)

    def forward(self, flat, off):
        return self.fc(self.drop(torch.relu(self.bag(flat, off))))


random.seed(1)
torch.manual_seed(1)
samples = load()
random.shuffle(samples)
cut = int(0.8 * len(samples))
train, test = samples[:cut], samples[cut:]
vocab = build_vocab(train)
train_x, train_y = vectorise(train, vocab)
test_x, test_y = vectorise(test, build_vocab(test))  # fault: other numbers for the same words
net = BagNet(3001, len(MODULES))
opt = torch.optim.Adam(net.parameters(), lr=5e-3)
for epoch in range(12):
    net.train()
    perm = list(range(len(train_x)))
    random.shuffle(perm)
    run = 0.0
    for s in range(0, len(perm), 32):
        flat, off, yb = as_batch(train_x, train_y, perm[s:s + 32])
        loss = nn.functional.cross_entropy(net(flat, off), yb)
        opt.zero_grad()
        loss.backward()
        opt.step()
        run += loss.item() * len(yb)
    print(f"epoch {epoch:2d} loss {run / len(perm):.3f}")
net.eval()
with torch.no_grad():
    flat, off, yb = as_batch(test_x, test_y, range(len(test_x)))
    print(f"test accuracy {(net(flat, off).argmax(1) == yb).float().mean():.3f}  ({len(train)}/{len(test)} chunks)")
