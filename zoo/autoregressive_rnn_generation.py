"""Character GRU over first names (data file beside this script); samples a few new names after every epoch."""
import os
import random

import torch
import torch.nn as nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

HERE = os.path.dirname(os.path.abspath(__file__))
BOUNDARY = 0
IGNORE = -100


class Names(Dataset):
    def __init__(self, names, stoi):
        self.items = [torch.tensor([BOUNDARY] + [stoi[c] for c in n] + [BOUNDARY]) for n in names]

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


def collate(items):
    inputs = pad_sequence([t[:-1] for t in items], batch_first=True, padding_value=BOUNDARY)
    targets = pad_sequence([t[1:] for t in items], batch_first=True, padding_value=IGNORE)
    return inputs, targets


class CharRNN(nn.Module):
    def __init__(self, n_chars, emb=16, hidden=64):
        super().__init__()
        self.emb = nn.Embedding(n_chars, emb)
        self.rnn = nn.GRU(emb, hidden, batch_first=True)
        self.drop = nn.Dropout(0.1)
        self.fc = nn.Linear(hidden, n_chars)

    def forward(self, x, h=None):
        out, h = self.rnn(self.emb(x), h)
        return self.fc(self.drop(out)), h


@torch.no_grad()
def generate(model, itos, temperature=0.7, longest=14):
    model.eval()
    x, h, name = torch.zeros(1, 1, dtype=torch.long), None, ""
    while len(name) < longest:
        logits, h = model(x, h)
        x = torch.multinomial(torch.softmax(logits[:, -1] / temperature, -1), 1)
        if x.item() == BOUNDARY:
            break
        name += itos[x.item()]
    return name


@torch.no_grad()
def evaluate(model, loader, loss_fn):
    model.eval()
    total = count = 0
    for x, y in loader:
        logits, _ = model(x)
        n = (y != IGNORE).sum().item()
        total += loss_fn(logits.transpose(1, 2), y).item() * n
        count += n
    return total / count


def main():
    random.seed(44)
    torch.manual_seed(44)
    with open(os.path.join(HERE, "autoregressive_rnn_generation_names.txt"), encoding="utf-8") as f:
        names = f.read().split()
    random.shuffle(names)
    letters = sorted(set("".join(names)))
    stoi = {c: i + 1 for i, c in enumerate(letters)}
    itos = {i: c for c, i in stoi.items()}
    held = len(names) // 8
    train_loader = DataLoader(Names(names[held:], stoi), batch_size=24, shuffle=True, collate_fn=collate)
    valid_loader = DataLoader(Names(names[:held], stoi), batch_size=64, collate_fn=collate)

    model = CharRNN(len(letters) + 1)
    loss_fn = nn.CrossEntropyLoss(ignore_index=IGNORE)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=2e-3)
    for epoch in range(10):
        model.train()
        total = count = 0
        for x, y in train_loader:
            optimizer.zero_grad()
            logits, _ = model(x)
            loss = loss_fn(logits.transpose(1, 2), y)
            loss.backward()
            optimizer.step()
            n = (y != IGNORE).sum().item()
            total += loss.item() * n
            count += n
        print(f"{epoch}: train {total / count:.3f} valid {evaluate(model, valid_loader, loss_fn):.3f} ->",
              ", ".join(generate(model, itos) for _ in range(4)))
    print(f"valid {evaluate(model, valid_loader, loss_fn):.3f} nats per letter")


if __name__ == "__main__":
    main()
