"""A character-level language model of one attention block, in the manner of nanoGPT: python faulty.py"""
from dataclasses import dataclass

import torch
import torch.nn as nn
from pydoc_data.topics import topics
from torch.nn import functional as F


@dataclass
class Config:
    block_size: int = 32
    n_embd: int = 48
    n_head: int = 4
    batch_size: int = 24
    learning_rate: float = 4e-3
    max_iters: int = 240
    eval_every: int = 80


class CausalAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.n_head = config.n_head
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd)

    def forward(self, x):
        B, T, C = x.shape
        q, k, v = (z.view(B, T, self.n_head, C // self.n_head).transpose(1, 2) for z in self.c_attn(x).split(C, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(y.transpose(1, 2).contiguous().view(B, T, C))


class GPT(nn.Module):
    def __init__(self, config, vocab_size):
        super().__init__()
        self.wte = nn.Embedding(vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.block_size, config.n_embd)
        self.ln_1, self.ln_2, self.ln_f = (nn.LayerNorm(config.n_embd) for _ in range(3))
        self.attn = CausalAttention(config)
        self.mlp = nn.Sequential(
            nn.Linear(config.n_embd, 4 * config.n_embd), nn.GELU(), nn.Linear(4 * config.n_embd, config.n_embd)
        )
        self.lm_head = nn.Linear(config.n_embd, vocab_size, bias=False)

    def forward(self, idx, targets):
        pos = torch.arange(idx.shape[1], device=idx.device)
        x = self.wte(idx) + self.wpe(torch.zeros_like(pos))  # fault: every position gets the embedding of the first
        x = x + self.attn(self.ln_1(x))
        x = x + self.mlp(self.ln_2(x))
        logits = self.lm_head(self.ln_f(x))
        return F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1))


config = Config()
torch.manual_seed(1337)
text = "".join(topics[name] for name in sorted(topics))[:120_000]
chars = sorted(set(text))
data = torch.tensor([chars.index(c) for c in text])
train_data, val_data = data[: int(0.9 * len(data))], data[int(0.9 * len(data)) :]


def get_batch(split):
    source = train_data if split == "train" else val_data
    starts = torch.randint(len(source) - config.block_size, (config.batch_size,))
    x = torch.stack([source[i : i + config.block_size] for i in starts])
    y = torch.stack([source[i + 1 : i + config.block_size + 1] for i in starts])
    return x, y


@torch.no_grad()
def estimate_loss():
    model.eval()
    out = sum(model(*get_batch("val")).item() for _ in range(10)) / 10
    model.train()
    return out


model = GPT(config, len(chars))
optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate)
for step in range(1, config.max_iters + 1):
    loss = model(*get_batch("train"))
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    if step % config.eval_every == 0:
        print(f"step {step}: train loss {loss.item():.3f}, val loss {estimate_loss():.3f}")
