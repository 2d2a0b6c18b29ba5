# character level transformer on standard library documentation
import inspect
import argparse as lib_argparse
import collections
import csv
import subprocess
import decimal
import difflib
import json
import logging
import math
import textwrap
import unittest

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(8)
CONTEXT, WIDTH, HEADS, LAYERS, BATCH, EPOCHS = 48, 64, 4, 2, 32, 6


def documentation(*modules):
    parts, seen = [], set()
    for m in modules:
        for _, obj in sorted(vars(m).items()):
            doc = inspect.getdoc(obj) if callable(obj) else None
            if doc and doc not in seen:
                seen.add(doc)
                parts.append(" ".join(doc.lower().split()))
    return "\n".join(parts)


train_text = documentation(decimal, collections, difflib, logging, textwrap, lib_argparse, unittest, subprocess)
valid_text = documentation(json, csv, math)
alphabet = {c: i + 1 for i, c in enumerate(sorted(set(train_text)))}
VOCAB = len(alphabet) + 1


def chunks(text):
    ids = torch.tensor([alphabet.get(c, 0) for c in text])
    usable = (len(ids) - 1) // (CONTEXT + 1) * (CONTEXT + 1)
    return ids[:usable].view(-1, CONTEXT + 1)


train_data = torch.utils.data.TensorDataset(chunks(train_text))
valid_data = torch.utils.data.TensorDataset(chunks(valid_text))
train_loader = torch.utils.data.DataLoader(train_data, batch_size=BATCH, shuffle=True)
valid_loader = torch.utils.data.DataLoader(valid_data, batch_size=64)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.proj = nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, x):
        b, t, _ = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, t, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(y.transpose(1, 2).reshape(b, t, WIDTH))
        return x + self.mlp(self.norm2(x))


class CharModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.token = nn.Embedding(VOCAB, WIDTH)
        self.position = nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, VOCAB)
        nn.init.normal_(self.token.weight, std=0.1)
        nn.init.normal_(self.position.weight, std=0.1)

    def forward(self, ids):
        x = self.token(ids) + self.position(torch.arange(ids.size(1)))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


model = CharModel()
# fault: norms, biases and embeddings are decayed as well
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.1)
print(len(train_data), "train chunks,", len(valid_data), "validation chunks,", VOCAB, "symbols")

for epoch in range(EPOCHS):
    model.train()
    total = count = 0
    for (ids,) in train_loader:
        logits = model(ids[:, :-1])
        loss = F.cross_entropy(logits.reshape(-1, VOCAB), ids[:, 1:].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total, count = total + loss.item() * len(ids), count + len(ids)
    model.eval()
    vtotal = vcount = right = 0
    with torch.no_grad():
        for (ids,) in valid_loader:
            logits, target = model(ids[:, :-1]), ids[:, 1:]
            vtotal += F.cross_entropy(logits.transpose(1, 2), target, reduction="sum").item()
            right += (logits.argmax(-1) == target).sum().item()
            vcount += target.numel()
    print(f"epoch {epoch + 1}: train {total / count:.3f}  valid {vtotal / vcount:.3f}  "
          f"bits/char {vtotal / vcount / math.log(2):.3f}  next-char acc {right / vcount:.3f}")
