"""Character-level LSTM language model over sentences from the docstrings of the standard library.

cuDNN runs the LSTM on packed sequences; padding is index 0 and does not count in the loss.
"""

import argparse
import asyncio
import collections
import datetime
import decimal
import email.message
import inspect
import logging
import pathlib
import re
import statistics
import subprocess
import tarfile
import threading
import unittest
import zipfile

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence
from torch.utils.data import DataLoader

PAD, BOS, EOS = 0, 1, 2
MODULES = [argparse, asyncio, collections, datetime, decimal, email.message, logging, pathlib, statistics]
MODULES += [subprocess, tarfile, threading, unittest, zipfile]


def sentences():
    found = set()
    for module in MODULES:
        holders = [module, *(v for k, v in sorted(vars(module).items()) if inspect.isclass(v))]
        for holder in holders:
            for _, member in sorted(vars(holder).items()):
                doc = getattr(member, "__doc__", None)
                if isinstance(doc, str):
                    found.update(re.split(r"(?<=[.:])\s+", " ".join(doc.split())))
    return sorted(s for s in found if 12 <= len(s) <= 100 and s.isascii() and s.isprintable())


class CharLSTM(nn.Module):
    def __init__(self, vocab_size, embedding_dim=48, hidden_dim=192):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embedding_dim, padding_idx=PAD)
        self.lstm = nn.LSTM(embedding_dim, hidden_dim, num_layers=2, dropout=0.1, batch_first=True)
        self.fc = nn.Linear(hidden_dim, vocab_size)

    def forward(self, tokens, lengths):
        packed = pack_padded_sequence(self.embedding(tokens), lengths, batch_first=True, enforce_sorted=False)
        hidden, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        return self.fc(hidden)


def collate(batch):
    return pad_sequence(batch, batch_first=True, padding_value=PAD), torch.tensor([len(s) - 1 for s in batch])


torch.manual_seed(7)
texts = sentences()
stoi = {c: i + 3 for i, c in enumerate(sorted(set("".join(texts))))}
encoded = [torch.tensor([BOS, *(stoi[c] for c in t), EOS]) for t in texts]
order = torch.randperm(len(encoded)).tolist()
n_val = len(encoded) // 10
val_loader = DataLoader([encoded[i] for i in order[:n_val]], batch_size=64, collate_fn=collate)
train_loader = DataLoader([encoded[i] for i in order[n_val:]], batch_size=32, shuffle=True, collate_fn=collate)

model = CharLSTM(len(stoi) + 3).cuda()
criterion = nn.CrossEntropyLoss(ignore_index=PAD)
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

for epoch in range(4):
    model.train()
    running, seen = 0.0, 0
    for tokens, lengths in train_loader:
        tokens = tokens.cuda()
        inputs, targets = tokens[:, :-1], tokens[:, 1:]
        logits = model(inputs, lengths)
        loss = criterion(logits.reshape(-1, logits.size(-1)), targets.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        running, seen = running + loss.item() * lengths.sum().item(), seen + lengths.sum().item()

    model.eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for tokens, lengths in val_loader:
            tokens = tokens.cuda()
            logits = model(tokens[:, :-1], lengths)
            loss = criterion(logits.reshape(-1, logits.size(-1)), tokens[:, 1:].reshape(-1))
            total, count = total + loss.item() * lengths.sum().item(), count + lengths.sum().item()
    print(f"epoch {epoch + 1} | train {running / seen:.3f} nats/char | val {total / count:.3f} nats/char")
