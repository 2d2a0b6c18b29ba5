"""A character-level language model of a chapter of the Python reference (LSTM, one layer)."""

import math

import torch
from pydoc_data.topics import topics
from torch import nn
from torch.nn.utils import clip_grad_norm_

torch.manual_seed(17)

# ---------------------------------------------------------------- text to numbers
text = " ".join(topics["specialnames"].split()).lower()
alphabet = sorted(set(text))
index_of = {char: i for i, char in enumerate(alphabet)}
codes = torch.tensor([index_of[char] for char in text])

seq_len = 32
chunks = codes[: len(codes) // (seq_len + 1) * (seq_len + 1)].view(-1, seq_len + 1)
chunks = torch.unique(chunks, dim=0)
chunks = chunks[torch.randperm(len(chunks))]
n_val = len(chunks) // 10
val_chunks, train_chunks = chunks[:n_val], chunks[n_val:]


# ---------------------------------------------------------------- model
class CharModel(nn.Module):
    def __init__(self, vocabulary, width=64):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, 32)
        self.lstm = nn.LSTM(32, width, batch_first=True)
        self.decode = nn.Linear(width, vocabulary)

    def forward(self, inputs):
        hidden, _ = self.lstm(self.embed(inputs))
        return self.decode(hidden)


def sequence_loss(model, chunk):
    logits = model(chunk[:, :-1])
    return nn.functional.cross_entropy(logits.flatten(0, 1), chunk[:, 1:].flatten())


model = CharModel(len(alphabet))
optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
max_norm = 0.25
batch_size = 32

# ---------------------------------------------------------------- training
for epoch in range(4):
    model.train()
    train_nll = 0.0
    for batch in train_chunks[torch.randperm(len(train_chunks))].split(batch_size):
        loss = sequence_loss(model, batch)
        optimizer.zero_grad()
        loss.backward()
        clip_grad_norm_(model.parameters(), max_norm)
        optimizer.step()
        train_nll += loss.item() * len(batch)
    train_nll /= len(train_chunks)

    model.eval()
    with torch.no_grad():
        val_nll = sequence_loss(model, val_chunks).item()
    print(f"epoch {epoch}: train nll {train_nll:.3f}, val nll {val_nll:.3f}, val perplexity {math.exp(val_nll):.2f}")

print(f"final val perplexity {math.exp(val_nll):.2f} (uniform guess: {len(alphabet)})")
