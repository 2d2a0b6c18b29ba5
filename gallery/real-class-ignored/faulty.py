"""What kind of token does each character of a line of Python belong to? Convolutions over characters."""
import io, keyword, tokenize, inspect, random
import argparse, decimal, textwrap, shlex, csv, fractions, statistics, heapq, bisect, calendar
import torch, torch.nn as nn
from torch.nn.utils.rnn import pad_sequence


KINDS = ["name", "keyword", "op", "number", "string", "space"]
K2I = {k: i for i, k in enumerate(KINDS)}
PAD_TAG = 0  # fault: the class "name" has the same number


def tag_source(src):
    lines = src.splitlines()
    tags = [["space"] * len(l) for l in lines]
    for t in tokenize.generate_tokens(io.StringIO(src).readline):
        kind = {tokenize.NAME: "name", tokenize.OP: "op", tokenize.NUMBER: "number", tokenize.STRING: "string"}.get(t.type)
        if kind is None or t.start[0] != t.end[0]:
            continue
        if kind == "name" and keyword.iskeyword(t.string):
            kind = "keyword"
        for c in range(t.start[1], t.end[1]):
            tags[t.start[0] - 1][c] = kind
    for l, tg in zip(lines, tags):
        s = l.strip()
        if 8 <= len(s) <= 70 and "#" not in s and '"""' not in s and ("(" in s or "=" in s):
            off = l.index(s[0])
            yield s, tg[off:off + len(s)]


pairs = {}
for m in (argparse, decimal, textwrap, shlex, csv, fractions, statistics, heapq, bisect, calendar, tokenize, inspect):
    for s, t in tag_source(inspect.getsource(m)):
        pairs.setdefault(s, t)
items = sorted(pairs.items())
random.Random(5).shuffle(items)
items = items[:640]
chars = sorted({c for s, _ in items[:500] for c in s})
C2I = {c: i + 2 for i, c in enumerate(chars)}
enc = [(torch.tensor([C2I.get(c, 1) for c in s]), torch.tensor([K2I[k] for k in t])) for s, t in items]
train, test = enc[:500], enc[500:]


def collate(chunk):
    xs, ys = zip(*chunk)
    return pad_sequence(xs, True, 0), pad_sequence(ys, True, PAD_TAG)


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(len(chars) + 2, 24, padding_idx=0)
        self.c1 = nn.Conv1d(24, 32, 5, padding=2)
        self.c2 = nn.Conv1d(32, 32, 5, padding=2)
        self.c3 = nn.Conv1d(32, 32, 7, padding=6, dilation=2)
        self.head = nn.Linear(32, len(KINDS))

    def forward(self, x):
        h = self.emb(x).transpose(1, 2)
        for c in (self.c1, self.c2, self.c3):
            h = torch.relu(c(h))
        return self.head(h.transpose(1, 2))


torch.manual_seed(0)
model = Tagger()
criterion = nn.CrossEntropyLoss(ignore_index=PAD_TAG)  # fault: and is left out
opt = torch.optim.Adam(model.parameters(), 3e-3)
for epoch in range(3):
    model.train()
    order = torch.randperm(len(train)).tolist()
    tot, n = 0.0, 0
    for i in range(0, len(order), 32):
        x, y = collate([train[j] for j in order[i:i + 32]])
        logits = model(x)
        loss = criterion(logits.reshape(-1, len(KINDS)), y.reshape(-1))
        opt.zero_grad(); loss.backward(); opt.step()
        tot += loss.item(); n += 1
    print("epoch", epoch, "loss", round(tot / n, 4))

model.eval()
conf = torch.zeros(len(KINDS), len(KINDS))
with torch.no_grad():
    for i in range(0, len(test), 50):
        x, y = collate(test[i:i + 50])
        p = model(x).argmax(-1)
        keep = x != 0
        for a, b in zip(y[keep].tolist(), p[keep].tolist()):
            conf[a, b] += 1
rec = conf.diag() / conf.sum(1).clamp_min(1)
print({k: round(r, 3) for k, r in zip(KINDS, rec.tolist())})
print("accuracy", round((conf.diag().sum() / conf.sum()).item(), 4))
