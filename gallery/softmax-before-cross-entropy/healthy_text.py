"""Train a bag-of-bigrams text classifier that tells from which Python module a snippet of source comes."""
import argparse
import difflib
import inspect
import statistics

import torch
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, Dataset

SNIPPET = 80
BUCKETS = 1024
MODULES = [argparse, difflib, statistics]


class Snippets(Dataset):
    """Snippets of source code as hashed character bigrams."""

    def __init__(self, texts, labels):
        self.texts = texts
        self.labels = labels

    def __len__(self):
        return len(self.texts)

    def __getitem__(self, i):
        text = self.texts[i]
        bigrams = [(ord(a) * 131 + ord(b)) % BUCKETS for a, b in zip(text, text[1:])]
        return torch.tensor(bigrams), self.labels[i]


def collect():
    texts, labels = [], []
    for label, module in enumerate(MODULES):
        source = " ".join(inspect.getsource(module).split())[:48_000]
        pieces = {source[i:i + SNIPPET] for i in range(0, len(source) - SNIPPET, SNIPPET)}
        texts += sorted(pieces)
        labels += [label] * len(pieces)
    return texts, labels


def accuracy_and_loss(model, loader, loss_fn):
    model.eval()
    hits = loss_sum = count = 0
    with torch.no_grad():
        for tokens, label in loader:
            out = model(tokens)
            loss_sum += loss_fn(out, label).item() * len(label)
            hits += (out.argmax(1) == label).sum().item()
            count += len(label)
    model.train()
    return hits / count, loss_sum / count


if __name__ == "__main__":
    torch.manual_seed(7)
    texts, labels = collect()
    tr_texts, va_texts, tr_labels, va_labels = train_test_split(
        texts, labels, test_size=0.25, stratify=labels, random_state=7
    )
    train_loader = DataLoader(Snippets(tr_texts, tr_labels), batch_size=32, shuffle=True)
    val_loader = DataLoader(Snippets(va_texts, va_labels), batch_size=64)

    model = nn.Sequential(
        nn.EmbeddingBag(BUCKETS, 64, mode="mean"),
        nn.Linear(64, 64),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(64, len(MODULES)),
    )
    loss_fn = nn.CrossEntropyLoss()
    opt = torch.optim.AdamW(model.parameters(), lr=2e-3)

    for epoch in range(10):
        for tokens, label in train_loader:
            opt.zero_grad()
            loss = loss_fn(model(tokens), label)
            loss.backward()
            opt.step()
        acc, val_loss = accuracy_and_loss(model, val_loader, loss_fn)
        print(f"epoch {epoch}: val_loss={val_loss:.3f} val_acc={acc:.3f}")
    print(f"final val_acc={acc:.3f}")
