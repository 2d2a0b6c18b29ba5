"""Tell English prose from Python code, 24 characters at a time, with a small LSTM."""

import inspect
import random
import zipfile

import torch
import torch.nn as nn
from pydoc_data.topics import topics
from torch.utils.data import DataLoader, Dataset

SEED = 42
WINDOW = 24
LR = 2e-3
EPOCHS = 6


def windows(text, count):
    text = " ".join(text.split())
    pieces = [text[i : i + WINDOW] for i in range(0, len(text) - WINDOW, WINDOW)]
    pieces = list(dict.fromkeys(pieces))  # each piece once
    random.shuffle(pieces)
    return pieces[:count]


class SnippetDataset(Dataset):
    def __init__(self, snippets, labels):
        self.snippets = snippets
        self.labels = labels

    def __len__(self):
        return len(self.snippets)

    def __getitem__(self, i):
        codes = [min(ord(c), 127) for c in self.snippets[i]]
        return torch.tensor(codes), torch.tensor(float(self.labels[i]))


class SnippetClassifier(nn.Module):
    def __init__(self, embed_dim=24, hidden=48):
        super().__init__()
        self.embedding = nn.Embedding(128, embed_dim)
        self.lstm = nn.LSTM(embed_dim, hidden, batch_first=True)
        self.out = nn.Linear(hidden, 1)

    def forward(self, codes):
        states, _ = self.lstm(self.embedding(codes))
        return self.out(states.mean(dim=1)).squeeze(1)


random.seed(SEED)
torch.manual_seed(SEED)

prose = windows("".join(topics[name] for name in ("typesseq", "compound", "objects")), 800)
code = windows(inspect.getsource(zipfile), 800)
examples = [(s, 0) for s in prose] + [(s, 1) for s in code]
random.shuffle(examples)
snippets, labels = zip(*examples)
split = int(0.8 * len(examples))
train_data = SnippetDataset(snippets[:split], labels[:split])
val_data = SnippetDataset(snippets[split:], labels[split:])
train_loader = DataLoader(train_data, batch_size=32, shuffle=True)
val_loader = DataLoader(val_data, batch_size=64)

model = SnippetClassifier()
optimizer = torch.optim.Adam(
    [
        {"params": model.embedding.parameters()},
        {"params": model.lstm.parameters(), "lr": LR * (1 // 2)},  # fault: 1 // 2 is 0
        {"params": model.out.parameters()},
    ],
    lr=LR,
)
criterion = nn.BCEWithLogitsLoss()

for epoch in range(EPOCHS):
    model.train()
    train_loss = 0.0
    for codes, target in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(codes), target)
        loss.backward()
        optimizer.step()
        train_loss += loss.item() * len(target)
    model.eval()
    val_loss, right = 0.0, 0
    with torch.no_grad():
        for codes, target in val_loader:
            logit = model(codes)
            val_loss += criterion(logit, target).item() * len(target)
            right += ((logit > 0) == (target > 0.5)).sum().item()
    accuracy = right / len(val_data)
    print(
        f"epoch {epoch}  train {train_loss / len(train_data):.4f}  "
        f"val {val_loss / len(val_data):.4f}  accuracy {accuracy:.3f}"
    )
print(f"final validation accuracy {accuracy:.3f}")
