"""Character-level causal transformer on text shipped with Python; the target shift is done in the script."""
import csv
import importlib.util
import math
import pathlib
import time

import torch
import torch.nn as nn
from torch.nn import functional as F

torch.manual_seed(1337)
block_size, batch_size = 24, 20
n_embd, n_head, n_layer, dropout = 40, 4, 2, 0.1
max_epochs, steps_per_epoch = 5, 30

# ---------------------------------------------------------------- data
# the sources below are plain prose and code; reading the files runs nothing
text = ""
for mod in ("textwrap", "bisect", "heapq", "shlex"):
    text += pathlib.Path(importlib.util.find_spec(mod).origin).read_text(encoding="utf-8")
text = "".join(c for c in text if c.isascii())
chars = sorted(set(text))
vocab_size = len(chars)
stoi = {c: i for i, c in enumerate(chars)}
data = torch.tensor([stoi[c] for c in text], dtype=torch.long)
pieces = data.split(500)[:-1]
order = torch.randperm(len(pieces))
n = len(pieces) // 10
val_pieces = torch.stack([pieces[i] for i in order[:n]])
train_pieces = torch.stack([pieces[i] for i in order[n:]])


def get_batch(split):
    d = train_pieces if split == "train" else val_pieces
    which = torch.randint(len(d), (batch_size,)).tolist()
    start = torch.randint(d.size(1) - block_size, (batch_size,)).tolist()
    x = torch.stack([d[w, s:s + block_size] for w, s in zip(which, start)])
    y = torch.stack([d[w, s + 1:s + block_size + 1] for w, s in zip(which, start)])   # next character
    return x, y


# ---------------------------------------------------------------- model
class CausalSelfAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.c_attn = nn.Linear(n_embd, 3 * n_embd)
        self.c_proj = nn.Linear(n_embd, n_embd)

    def forward(self, x):
        B, T, C = x.size()
        q, k, v = (t.view(B, T, n_head, C // n_head).transpose(1, 2) for t in self.c_attn(x).split(C, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(y.transpose(1, 2).reshape(B, T, C))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(n_embd), nn.LayerNorm(n_embd)
        self.attn = CausalSelfAttention()
        self.mlp = nn.Sequential(nn.Linear(n_embd, 4 * n_embd), nn.GELU(), nn.Linear(4 * n_embd, n_embd))
        self.drop = nn.Dropout(dropout)

    def forward(self, x):
        x = x + self.drop(self.attn(self.ln_1(x)))
        return x + self.drop(self.mlp(self.ln_2(x)))


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte = nn.Embedding(vocab_size, n_embd)
        self.wpe = nn.Embedding(block_size, n_embd)
        self.h = nn.ModuleList(Block() for _ in range(n_layer))
        self.ln_f = nn.LayerNorm(n_embd)
        self.lm_head = nn.Linear(n_embd, vocab_size, bias=False)
        self.apply(self._init_weights)
        self.lm_head.weight = self.wte.weight   # weight tying

    @staticmethod
    def _init_weights(m):
        if isinstance(m, (nn.Linear, nn.Embedding)):
            nn.init.normal_(m.weight, mean=0.0, std=0.02)
        if isinstance(m, nn.Linear) and m.bias is not None:
            nn.init.zeros_(m.bias)

    def forward(self, idx):
        x = self.wte(idx) + self.wpe(torch.arange(idx.size(1)))
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x))


model = GPT()
decay = [p for p in model.parameters() if p.dim() >= 2]
no_decay = [p for p in model.parameters() if p.dim() < 2]
optimizer = torch.optim.AdamW(
    [{"params": decay, "weight_decay": 0.1}, {"params": no_decay, "weight_decay": 0.0}], lr=3e-3, betas=(0.9, 0.95))

# ---------------------------------------------------------------- training
with open("lm_log.csv", "w", newline="") as f:
    log = csv.writer(f)
    log.writerow(["epoch", "train", "val", "seconds"])
    for epoch in range(max_epochs):
        t0 = time.perf_counter()
        model.train()
        total = 0.0
        for _ in range(steps_per_epoch):
            xb, yb = get_batch("train")
            loss = F.cross_entropy(model(xb).view(-1, vocab_size), yb.view(-1))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.item()
        model.eval()
        with torch.no_grad():
            val = sum(F.cross_entropy(model(x).flatten(0, 1), y.flatten()).item()
                      for x, y in (get_batch("val") for _ in range(5))) / 5
        log.writerow([epoch, total / steps_per_epoch, val, time.perf_counter() - t0])
        print(f"epoch {epoch}: train {total / steps_per_epoch:.4f}, val {val:.4f} (uniform {math.log(vocab_size):.4f})")
print(f"bits per character on held-out text: {val / math.log(2):.3f}")
