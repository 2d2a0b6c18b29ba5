"""A small GPT on the Python manual, character by character, then a few lines written by it."""

import math
from pydoc_data.topics import topics

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset

SEED, CONTEXT, WIDTH, EPOCHS = 7, 32, 48, 3


class Characters(Dataset):
    """Pieces of text as numbers, each one character longer than the context."""

    def __init__(self, numbers):
        self.numbers = numbers

    def __len__(self):
        return (len(self.numbers) - 1) // CONTEXT

    def __getitem__(self, index):
        return self.numbers[index * CONTEXT : (index + 1) * CONTEXT + 1]


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x, mask):
        h = self.norm1(x)
        x = x + self.attention(h, h, h, attn_mask=mask, need_weights=False)[0]
        return x + self.feed(self.norm2(x))


class CharGPT(nn.Module):
    def __init__(self, vocabulary, width=WIDTH):
        super().__init__()
        self.characters = nn.Embedding(vocabulary, width)
        self.places = nn.Embedding(CONTEXT, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(2))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, vocabulary))

    def forward(self, numbers):
        length = numbers.shape[1]
        mask = torch.triu(torch.ones(length, length, dtype=torch.bool), diagonal=1)
        x = self.characters(numbers) + self.places(torch.arange(length))
        for block in self.blocks:
            x = block(x, mask)
        return self.head(x)

    @torch.no_grad()
    def write(self, numbers, more):
        for _ in range(more):
            logits = self(numbers[:, -CONTEXT:])[:, -1]
            numbers = torch.cat([numbers, torch.multinomial(logits.softmax(-1), 1)], dim=1)
        return numbers[0]


def loss_of(model, pieces):
    context = pieces[:, :-1]
    return F.cross_entropy(model(context).flatten(0, 1), context.flatten())  # fault: not the characters that come next


def main():
    torch.manual_seed(SEED)
    text = " ".join((topics["typesseq"] + topics["strings"] + topics["exprlists"]).split())[:14_000]
    alphabet = sorted(set(text))
    numbers = torch.tensor([alphabet.index(c) for c in text])
    cut = int(0.9 * len(numbers))
    train = DataLoader(Characters(numbers[:cut]), batch_size=24, shuffle=True)
    val = DataLoader(Characters(numbers[cut:]), batch_size=64)

    model = CharGPT(len(alphabet))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for epoch in range(EPOCHS):
        model.train()
        for pieces in train:
            loss = loss_of(model, pieces)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            losses = [loss_of(model, pieces).item() for pieces in val]
        mean = sum(losses) / len(losses)
        print(f"epoch {epoch}: val loss {mean:.3f}, perplexity {math.exp(mean):.2f}")
    print("".join(alphabet[i] for i in model.write(numbers[None, :CONTEXT], 40).tolist()))


if __name__ == "__main__":
    main()
