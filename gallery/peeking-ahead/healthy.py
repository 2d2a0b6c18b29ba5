"""Train a character-level language model on a few chapters of the Python manual: a one-block transformer."""
import math
from dataclasses import dataclass
from pydoc_data.topics import topics

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader


@dataclass
class Config:
    block_size: int = 24
    n_embd: int = 48
    n_head: int = 4
    batch_size: int = 32
    epochs: int = 3
    lr: float = 2e-3
    seed: int = 1337


class Attention(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.n_head = cfg.n_head
        self.qkv = nn.Linear(cfg.n_embd, 3 * cfg.n_embd)
        self.proj = nn.Linear(cfg.n_embd, cfg.n_embd)

    def forward(self, x):
        B, T, C = x.shape
        q, k, v = (h.view(B, T, self.n_head, C // self.n_head).transpose(1, 2) for h in self.qkv(x).chunk(3, dim=-1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.proj(y.transpose(1, 2).reshape(B, T, C))


class TinyGPT(nn.Module):
    def __init__(self, cfg, vocab_size):
        super().__init__()
        self.tok = nn.Embedding(vocab_size, cfg.n_embd)
        self.pos = nn.Embedding(cfg.block_size, cfg.n_embd)
        self.ln1 = nn.LayerNorm(cfg.n_embd)
        self.attn = Attention(cfg)
        self.ln2 = nn.LayerNorm(cfg.n_embd)
        self.mlp = nn.Sequential(
            nn.Linear(cfg.n_embd, 4 * cfg.n_embd), nn.GELU(), nn.Linear(4 * cfg.n_embd, cfg.n_embd)
        )
        self.ln_f = nn.LayerNorm(cfg.n_embd)
        self.head = nn.Linear(cfg.n_embd, vocab_size)

    def forward(self, idx):
        x = self.tok(idx) + self.pos(torch.arange(idx.shape[1]))
        x = x + self.attn(self.ln1(x))
        x = x + self.mlp(self.ln2(x))
        return self.head(self.ln_f(x))


def next_char_loss(model, blocks):
    logits = model(blocks[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1), blocks[:, 1:].flatten())


def load_blocks(cfg):
    """Pieces of text with distinct contexts, each one character longer than the context, in random order."""
    text = " ".join(" ".join(topics[name].split()) for name in ("typesseq", "types"))
    vocab = sorted(set(text))
    size = cfg.block_size
    pieces = {text[i:i + size]: text[i:i + size + 1] for i in range(0, len(text) - size, size + 1)}
    blocks = torch.tensor([[vocab.index(c) for c in piece] for piece in pieces.values()])
    blocks = blocks[torch.randperm(len(blocks))]
    cut = int(0.9 * len(blocks))
    return blocks[:cut], blocks[cut:], vocab


def main(cfg):
    torch.manual_seed(cfg.seed)
    train_blocks, val_blocks, vocab = load_blocks(cfg)
    loader = DataLoader(train_blocks, batch_size=cfg.batch_size, shuffle=True)
    model = TinyGPT(cfg, len(vocab))
    optimizer = torch.optim.AdamW(model.parameters(), lr=cfg.lr)
    for epoch in range(cfg.epochs):
        model.train()
        for blocks in loader:
            loss = next_char_loss(model, blocks)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            val_loss = next_char_loss(model, val_blocks).item()
        print(f"epoch {epoch}: train loss {loss.item():.3f}, val loss {val_loss:.3f}, "
              f"perplexity {math.exp(val_loss):.2f}")
    print(f"final val loss {val_loss:.3f}, perplexity {math.exp(val_loss):.2f}")


if __name__ == "__main__":
    main(Config())
