"""Fine-tune a digits encoder slowly and its new head quickly, each with an optimizer of its own."""

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

torch.manual_seed(5)
x, y = load_digits(return_X_y=True)
x_train, x_test, y_train, y_test = train_test_split(x / 16, y, test_size=0.2, random_state=0, stratify=y)
x_train, x_test = (torch.tensor(a, dtype=torch.float32).view(-1, 1, 8, 8) for a in (x_train, x_test))
y_train, y_test = torch.tensor(y_train), torch.tensor(y_test)


def build_encoder():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Flatten()
    )


def batches(size):
    for picked in torch.randperm(len(y_train)).split(size):
        yield x_train[picked], y_train[picked]


def freeze(module):
    for p in module.parameters():
        p.requires_grad = False


# the encoder learns to tell even digits from odd ones first
encoder, parity = build_encoder(), nn.Linear(32 * 16, 2)
pre = torch.optim.Adam([*encoder.parameters(), *parity.parameters()], lr=1e-3)
for _ in range(2):
    for xb, yb in batches(64):
        pre.zero_grad()
        nn.functional.cross_entropy(parity(encoder(xb)), yb % 2).backward()
        pre.step()

encoder.zero_grad()
tuned = build_encoder()
tuned.load_state_dict(encoder.state_dict())
head = nn.Linear(32 * 16, 10)
freeze(encoder)
slow = torch.optim.SGD(tuned.parameters(), lr=0.02, momentum=0.9)
fast = torch.optim.Adam(head.parameters(), lr=1e-3)
for epoch in range(4):
    total = 0.0
    for xb, yb in batches(64):
        loss = nn.functional.cross_entropy(head(tuned(xb)), yb)
        slow.zero_grad()
        fast.zero_grad()
        loss.backward()
        slow.step()
        fast.step()
        total += loss.item() * len(yb)
    with torch.no_grad():
        accuracy = (head(tuned(x_test)).argmax(1) == y_test).float().mean()
    print(f"epoch {epoch}: loss {total / len(y_train):.4f}, test accuracy {accuracy:.4f}")
