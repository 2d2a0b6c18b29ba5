"""Which package does a line of documentation come from? A bag of hashed words with sparse gradients, SparseAdam and Adam."""

import inspect
import re
import zlib

import numpy
import sklearn.base
import sklearn.linear_model
import sklearn.metrics
import torch
from torch import nn
from torch.utils.data import DataLoader

BUCKETS = 20_000
PACKAGES = {"numpy": [numpy, numpy.linalg], "sklearn": [sklearn.linear_model, sklearn.metrics], "torch": [torch, torch.nn]}


def read_lines(modules):
    lines = set()
    for module in modules:
        for name in sorted(dir(module)):
            member = getattr(module, name)
            if callable(member) and not name.startswith("_"):
                doc = inspect.getdoc(member) or ""
                lines.update(line.strip() for line in doc.splitlines() if len(line.split()) >= 5)
    return lines


def build_examples():
    by_package = [read_lines(modules) for modules in PACKAGES.values()]
    examples = []
    for label, lines in enumerate(by_package):
        others = set().union(*(by_package[i] for i in range(len(by_package)) if i != label))
        examples += [(line, label) for line in sorted(lines - others)]
    return examples


def collate(examples):
    bags = [[zlib.crc32(w.encode()) % BUCKETS for w in re.findall(r"\w+|[^\w\s]", line.lower())] for line, _ in examples]
    offsets = torch.tensor([0, *(len(b) for b in bags[:-1])]).cumsum(0)
    tokens = torch.tensor([token for bag in bags for token in bag])
    return tokens, offsets, torch.tensor([label for _, label in examples])


class BagClassifier(nn.Module):
    def __init__(self, dim, classes):
        super().__init__()
        self.bag = nn.EmbeddingBag(BUCKETS, dim, mode="mean", sparse=True)
        self.classify = nn.Sequential(nn.Linear(dim, 64), nn.ReLU(), nn.Linear(64, classes))

    def forward(self, tokens, offsets):
        return self.classify(self.bag(tokens, offsets))


def epoch_of(model, loader, optimizers=()):
    model.train(bool(optimizers))
    loss_sum = right = count = 0
    with torch.set_grad_enabled(bool(optimizers)):
        for batch in loader:
            tokens, offsets, labels = (t.to("cuda", non_blocking=True) for t in batch)
            logits = model(tokens, offsets)
            loss = nn.functional.cross_entropy(logits, labels)
            for optimizer in optimizers:
                optimizer.zero_grad()
            if optimizers:
                loss.backward()
            for optimizer in optimizers:
                optimizer.step()
            loss_sum += loss.item() * len(labels)
            right += (logits.argmax(1) == labels).sum().item()
            count += len(labels)
    return loss_sum / count, right / count


if __name__ == "__main__":
    torch.manual_seed(13)
    examples = build_examples()
    picked = torch.randperm(len(examples))[:9000].tolist()
    cut = len(picked) * 4 // 5
    train_loader = DataLoader([examples[i] for i in picked[:cut]], 64, shuffle=True, collate_fn=collate, pin_memory=True)
    valid_loader = DataLoader([examples[i] for i in picked[cut:]], 256, collate_fn=collate, pin_memory=True)
    model = BagClassifier(dim=32, classes=len(PACKAGES)).to("cuda")
    sparse = torch.optim.SparseAdam(model.bag.parameters(), lr=1e-2)
    dense = torch.optim.Adam(model.classify.parameters(), lr=1e-3)
    for epoch in range(3):
        train_loss, train_acc = epoch_of(model, train_loader, (sparse, dense))
        valid_loss, valid_acc = epoch_of(model, valid_loader)
        print(f"{epoch}: train {train_loss:.3f} / {train_acc:.3f}, valid {valid_loss:.3f} / {valid_acc:.3f}")
