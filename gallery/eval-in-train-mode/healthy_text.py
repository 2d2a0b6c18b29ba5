"""Tell whether English text runs forwards or backwards with an LSTM, batch norm and dropout."""

import torch
import torch.nn.functional as F
from pydoc_data.topics import topics
from torch import nn

CHAPTERS = ["compound", "specialnames", "types"]


class TextClassifier(nn.Module):
    def __init__(self, vocab_size, embed_size, hidden_size):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, embed_size)
        self.norm = nn.BatchNorm1d(embed_size)
        self.lstm = nn.LSTM(embed_size, hidden_size, batch_first=True)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(hidden_size, 2)

    def forward(self, tokens):
        embedded = self.norm(self.embed(tokens).transpose(1, 2)).transpose(1, 2)
        states, _ = self.lstm(embedded)
        return self.fc(self.drop(states.mean(dim=1)))


def encode(text, vocab, size):
    ids = torch.tensor([vocab[c] for c in text])
    rows = ids[: len(ids) // size * size].view(-1, size)
    return torch.unique(rows, dim=0)


def build_data(n_per_class=750, size=24):
    text = " ".join(" ".join(topics[k] for k in CHAPTERS).lower().split())
    vocab = {c: i for i, c in enumerate(sorted(set(text)))}
    half = len(text) // 2
    forwards = encode(text[:half], vocab, size)
    backwards = encode(text[:half:-1], vocab, size)
    forwards = forwards[torch.randperm(len(forwards))[:n_per_class]]
    backwards = backwards[torch.randperm(len(backwards))[:n_per_class]]
    x = torch.cat([forwards, backwards])
    y = torch.cat([torch.zeros(n_per_class), torch.ones(n_per_class)]).long()
    shuffled = torch.randperm(len(x))
    return x[shuffled], y[shuffled], len(vocab)


def accuracy(logits, y):
    return (logits.argmax(1) == y).float().mean().item()


torch.manual_seed(32)
x, y, vocab_size = build_data()
x_train, y_train = x[:1200], y[:1200]
x_valid, y_valid = x[1200:], y[1200:]

model = TextClassifier(vocab_size, embed_size=16, hidden_size=40)
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
batch_size = 40

for epoch in range(7):
    model.train()
    order = torch.randperm(len(x_train))
    train_loss = 0.0
    for i in range(0, len(order), batch_size):
        batch = order[i : i + batch_size]
        loss = F.cross_entropy(model(x_train[batch]), y_train[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        train_loss += loss.item() * len(batch) / len(x_train)

    model.eval()
    with torch.no_grad():
        logits = torch.cat([model(part) for part in x_valid.split(20)])
    valid_loss = F.cross_entropy(logits, y_valid).item()
    print(f"epoch {epoch}: train {train_loss:.4f} valid {valid_loss:.4f} accuracy {accuracy(logits, y_valid):.3f}")

print(f"final valid loss {valid_loss:.4f}, accuracy {accuracy(logits, y_valid):.3f}")
