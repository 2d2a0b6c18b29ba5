"""A character model of the Python reference on a GPU, in bfloat16, with a rate that warms up and falls along a cosine."""

import math
from pydoc_data.topics import topics

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(1)
text = "\n".join(topics[name] for name in sorted(topics))[:200_000]
letters = sorted(set(text))
codes = torch.tensor([letters.index(c) for c in text], device="cuda")
split = int(0.9 * len(codes))
CONTEXT, BATCH, STEPS = 64, 32, 120


def get_batch(source):
    start = torch.randint(len(source) - CONTEXT - 1, (BATCH,), device="cuda")
    at = start[:, None] + torch.arange(CONTEXT, device="cuda")
    return source[at], source[at + 1]


class Block(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim), nn.Dropout(0.1))

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(b, t, d))
        return x + self.mlp(self.norm2(x))


class CharModel(nn.Module):
    def __init__(self, vocabulary, dim=96, depth=3):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, dim)
        self.position = nn.Embedding(CONTEXT, dim)
        self.blocks = nn.Sequential(*[Block(dim, 4) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, vocabulary)

    def forward(self, tokens):
        x = self.embed(tokens) + self.position(torch.arange(tokens.shape[1], device=tokens.device))
        return self.head(self.norm(self.blocks(x)))


@torch.no_grad()
def estimate(model):
    model.eval()
    losses = [F.cross_entropy(model(x).flatten(0, 1), y.flatten()) for x, y in (get_batch(codes[split:]) for _ in range(8))]
    model.train()
    return torch.stack(losses).mean().item()


model = CharModel(len(letters)).cuda()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95))
for step in range(STEPS):
    for group in optimizer.param_groups:
        group["lr"] = 1e-3 * min(1.0, (step + 1) / 20) * 0.5 * (1 + math.cos(math.pi * step / STEPS))
    x, y = get_batch(codes[:split])
    with torch.autocast("cuda", dtype=torch.bfloat16):
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    if step % 30 == 29:
        print(f"step {step + 1}: train {loss.item():.4f}, valid {estimate(model):.4f}")
