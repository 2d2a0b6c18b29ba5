"""Sentence topic classifier on Python's own documentation, trained in two phases:
first everything, then the encoder is held and only a bigger head is trained."""
import re
import random
from pydoc_data.topics import topics

import torch
import torch.nn as nn
import torch.nn.functional as F

random.seed(1)
torch.manual_seed(1)

GROUPS = {
    "class": ["specialnames", "customization", "class", "attribute-access", "objects"],
    "string": ["string-methods", "formatstrings", "strings", "bltin-null-object"],
    "flow": ["try", "with", "while", "for", "if", "exceptions", "compound", "return", "raise", "yield"],
    "types": ["types", "typesseq", "typesmapping", "numbers"],
}


def sentences():
    rows = []
    for label, (_, keys) in enumerate(GROUPS.items()):
        for k in keys:
            if k not in topics:
                continue
            toks = re.findall(r"[a-z_]+", topics[k].lower())
            for i in range(0, len(toks) - 40, 40):
                rows.append((toks[i:i + 40], label))
    random.shuffle(rows)
    return rows


rows = sentences()
cut = int(0.8 * len(rows))
counts = {}
for toks, _ in rows[:cut]:
    for t in toks:
        counts[t] = counts.get(t, 0) + 1
vocab = {w: i + 1 for i, w in enumerate(sorted(w for w, c in counts.items() if c > 2))}


def tensors(part):
    x = torch.tensor([[vocab.get(t, 0) for t in toks] for toks, _ in part])
    return x, torch.tensor([l for _, l in part])


xtr, ytr = tensors(rows[:cut])
xte, yte = tensors(rows[cut:])
print(len(xtr), "train", len(xte), "test", len(vocab), "words")


class Encoder(nn.Module):
    def __init__(self, dim=32):
        super().__init__()
        self.emb = nn.Embedding(len(vocab) + 1, dim)
        self.conv = nn.Conv1d(dim, dim, 3, padding=1)

    def forward(self, x):
        e = self.emb(x).transpose(1, 2)
        return torch.cat([e.mean(-1), F.relu(self.conv(e)).amax(-1)], 1)


encoder = Encoder()
head = nn.Sequential(nn.Dropout(0.3), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, len(GROUPS)))
params = list(encoder.parameters()) + list(head.parameters())
opt = torch.optim.SGD(params, lr=0.05, momentum=0.9, weight_decay=1e-3)  # fault: decay and momentum go on after the freeze

probe = xte[:64]
PHASE1, EPOCHS = 18, 30
for epoch in range(EPOCHS):
    if epoch == PHASE1:
        for p in encoder.parameters():
            p.requires_grad_(False)
        with torch.no_grad():
            anchor = encoder(probe)
        print("encoder held from here on")
    encoder.train(); head.train()
    total = 0.0
    for idx in torch.randperm(len(xtr)).split(24):
        opt.zero_grad(set_to_none=False)
        loss = F.cross_entropy(head(encoder(xtr[idx])), ytr[idx])
        loss.backward()
        opt.step()
        total += loss.item() * len(idx)
    encoder.eval(); head.eval()
    with torch.no_grad():
        acc = (head(encoder(xte)).argmax(1) == yte).float().mean().item()
        line = f"epoch {epoch:2d} loss {total / len(xtr):.3f} test acc {acc:.3f}"
        if epoch >= PHASE1:
            f = encoder(probe)
            line += f" feature change {((f - anchor).norm() / anchor.norm()).item():.4f}"
    print(line)
