"""Tell forward from backward English with a 1-D convolution over characters, counting steps, not epochs."""

import torch
import torch.nn as nn
from pydoc_data.topics import topics
from torch.utils.data import DataLoader, TensorDataset, random_split

torch.manual_seed(88)

seq_length = 32
max_steps = 240
eval_every = 40

text = topics["specialnames"] + topics["types"] + topics["string-methods"]
text = " ".join(text.split()).encode("ascii", "replace")
half = len(text) // 2


def to_rows(chars, n=900):
    chars = torch.tensor(list(chars[: len(chars) // seq_length * seq_length]))
    rows = chars.view(-1, seq_length).unique(dim=0)
    return rows[torch.randperm(len(rows))[:n]]


forward_rows = to_rows(text[:half])
backward_rows = to_rows(text[half:][::-1])
inputs = torch.cat([forward_rows, backward_rows])
labels = torch.cat([torch.zeros(len(forward_rows)), torch.ones(len(backward_rows))])
train_set, val_set = random_split(TensorDataset(inputs, labels), [1440, 360])
train_loader = DataLoader(train_set, batch_size=48)
val_loader = DataLoader(val_set, batch_size=120)


class CharCNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(128, 16)
        self.conv = nn.Conv1d(16, 48, kernel_size=4)
        self.fc = nn.Linear(48, 1)

    def forward(self, ids):
        x = self.embedding(ids).transpose(1, 2)
        x = torch.relu(self.conv(x)).mean(dim=2)
        return self.fc(x).squeeze(1)


def endless(loader):
    while True:
        yield from loader


def evaluate(model):
    model.eval()
    total_loss, total_right = 0.0, 0
    with torch.no_grad():
        for x, y in val_loader:
            logits = model(x)
            total_loss += criterion(logits, y).item() * len(y)
            total_right += ((logits > 0) == (y == 1)).sum().item()
    model.train()
    return total_loss / len(val_set), total_right / len(val_set)


model = CharCNN()
criterion = nn.BCEWithLogitsLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
batches = endless(train_loader)

model.train()
recent_loss = 0.0
for step in range(1, max_steps + 1):
    x, y = next(iter(train_loader))  # fault: the first batch, every time
    loss = criterion(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    recent_loss += loss.item() / eval_every
    if step % eval_every == 0:
        val_loss, val_acc = evaluate(model)
        print(f"step {step:3d}: train loss {recent_loss:.4f}, val loss {val_loss:.4f}, val acc {val_acc:.4f}")
        recent_loss = 0.0

print(f"final val loss {val_loss:.4f}, val acc {val_acc:.4f}")
