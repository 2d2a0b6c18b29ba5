"""Skip-gram word vectors with negative sampling on docstrings; sparse embeddings, SparseAdam."""
import json
import re
import string
import textwrap
from collections import Counter

import torch
from torch import nn
from torch.nn.functional import logsigmoid

torch.manual_seed(61)
WINDOW, NEGATIVES, DIM, BATCH = 3, 5, 24, 256

docs = " ".join(
    obj.__doc__ or ""
    for obj in (str, bytes, list, dict, set, json, json.dumps, json.loads, textwrap, textwrap.TextWrapper, textwrap.wrap,
                string.Formatter, *[getattr(str, m) for m in dir(str)], *[getattr(bytes, m) for m in dir(bytes)]))
words = re.findall(r"[a-z]+", docs.lower())
counts = Counter(words)
vocab = sorted(w for w, c in counts.items() if c >= 5)
index = {w: i for i, w in enumerate(vocab)}
ids = [index[w] for w in words if w in index]
noise = torch.tensor([counts[w] for w in vocab], dtype=torch.float).pow(0.75)



def skip_grams(ids):
    return torch.tensor([(ids[i], ids[j]) for i in range(len(ids))
                         for j in range(max(0, i - WINDOW), min(len(ids), i + WINDOW + 1)) if i != j])


# every tenth stretch of 40 words is kept aside
stretches = [ids[i:i + 40] for i in range(0, len(ids), 40)]
held_out = skip_grams([w for k, s in enumerate(stretches) if k % 10 == 9 for w in s])
pairs = skip_grams([w for k, s in enumerate(stretches) if k % 10 != 9 for w in s])


class SkipGram(nn.Module):
    def __init__(self, n_words, dim):
        super().__init__()
        self.inner = nn.Embedding(n_words, dim, sparse=True)
        self.outer = nn.Embedding(n_words, dim, sparse=True)
        nn.init.uniform_(self.inner.weight, -0.5 / dim, 0.5 / dim)
        nn.init.normal_(self.outer.weight, std=0.1)

    def forward(self, centre, context, negatives):
        v = self.inner(centre)
        positive = (v * self.outer(context)).sum(-1)
        negative = torch.bmm(self.outer(negatives), v.unsqueeze(2)).squeeze(2)
        return -(logsigmoid(positive) + logsigmoid(-negative).sum(1)).mean()


def draw_negatives(n):
    return torch.multinomial(noise, n * NEGATIVES, replacement=True).view(n, NEGATIVES)


model = SkipGram(len(vocab), DIM)
optimizer = torch.optim.SparseAdam(list(model.parameters()), lr=0.01)
print(f"{len(ids)} words, {len(vocab)} of them different, {len(pairs)} pairs")
for epoch in range(4):
    model.train()
    total = 0.0
    for batch in pairs[torch.randperm(len(pairs))].split(BATCH):
        optimizer.zero_grad()
        loss = model(batch[:, 0], batch[:, 1], draw_negatives(len(batch)))
        loss.backward()
        optimizer.step()
        total += loss.item() * len(batch)
    model.eval()
    with torch.no_grad():
        val = model(held_out[:, 0], held_out[:, 1], draw_negatives(len(held_out))).item()
    print(f"epoch {epoch}: loss {total / len(pairs):.4f}, held out {val:.4f}")

unit = nn.functional.normalize(model.inner.weight.detach())
for word in ("string", "the", "true"):
    near = (unit @ unit[index[word]]).topk(4).indices.tolist()
    print(word, "->", [vocab[i] for i in near[1:]])
