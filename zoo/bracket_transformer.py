"""Transformer encoder that decides whether a bracket string is well nested."""
import math
import random

import torch
from torch import nn

random.seed(9)
torch.manual_seed(9)
VOCAB = {c: i for i, c in enumerate("()[]c")}
MAXLEN = 12


def balanced(n_pairs):
    s, stack, left = [], [], n_pairs
    while left or stack:
        if left and (not stack or random.random() < 0.5):
            b = random.choice("([")
            s.append(b)
            stack.append(")" if b == "(" else "]")
            left -= 1
        else:
            s.append(stack.pop())
    return s


def example():
    s = balanced(MAXLEN // 2)
    if random.random() < 0.5:
        return s, 1
    t = s[:]
    while is_balanced(t):
        random.shuffle(t)
    return t, 0


def is_balanced(s):
    stack = []
    for c in s:
        if c in "([":
            stack.append(c)
        elif not stack or stack.pop() + c not in ("()", "[]"):
            return False
    return not stack


def dataset(n):
    xs, ys = zip(*(example() for _ in range(n)))
    ids = torch.tensor([[VOCAB["c"]] + [VOCAB[c] for c in s] for s in xs])
    return ids, torch.tensor(ys, dtype=torch.float32)


class PositionalEncoding(nn.Module):
    def __init__(self, d_model, dropout=0.0, max_len=512):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        position = torch.arange(max_len).unsqueeze(1)
        div_term = torch.exp(torch.arange(0, d_model, 2) * (-math.log(10000.0) / d_model))
        pe = torch.zeros(max_len, 1, d_model)
        pe[:, 0, 0::2] = torch.sin(position * div_term)
        pe[:, 0, 1::2] = torch.cos(position * div_term)
        self.register_buffer("pe", pe)

    def forward(self, x):
        x = x + self.pe[:x.size(1)].transpose(0, 1)
        return self.dropout(x)


class BracketJudge(nn.Module):
    def __init__(self, d=32):
        super().__init__()
        self.embed = nn.Embedding(len(VOCAB), d)
        self.pos = PositionalEncoding(d)
        layer = nn.TransformerEncoderLayer(d, 4, 64, dropout=0.0, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 1))

    def forward(self, ids):
        h = self.encoder(self.pos(self.embed(ids)))
        return self.head(h[:, 0]).squeeze(-1)


train_x, train_y = dataset(6000)
seen = {tuple(r) for r in train_x.tolist()}
val_x, val_y = dataset(800)
fresh = torch.tensor([tuple(r) not in seen for r in val_x.tolist()])
val_x, val_y = val_x[fresh][:400], val_y[fresh][:400]

model = BracketJudge()
opt = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
sched = torch.optim.lr_scheduler.OneCycleLR(opt, 4e-3, total_steps=8 * 60)
bce = nn.BCEWithLogitsLoss()
for epoch in range(8):
    model.train()
    tot = 0.0
    for idx in torch.randperm(len(train_x)).split(100):
        opt.zero_grad()
        loss = bce(model(train_x[idx]), train_y[idx])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        sched.step()
        tot += loss.item() * len(idx)
    model.eval()
    with torch.no_grad():
        out = model(val_x)
        acc = ((out > 0).float() == val_y).float().mean().item()
    print(f"epoch {epoch}: train loss {tot / len(train_x):.4f}  val loss {bce(out, val_y).item():.4f}  val acc {acc:.3f} (majority {max(val_y.mean().item(), 1 - val_y.mean().item()):.3f})")
