"""Which of two authors? Windows of documentation text, a bag of character pairs, and a logistic model on top of an MLP."""

import random

import torch
from pydoc_data.topics import topics
from torch import nn, optim

random.seed(1)
torch.manual_seed(1)

WINDOW = 80
ALPHABET = "abcdefghijklmnopqrstuvwxyz "


def windows(text):
    text = "".join(c if c in ALPHABET else " " for c in text.lower())
    text = " ".join(text.split())
    return [text[i : i + WINDOW] for i in range(0, len(text) - WINDOW, WINDOW // 2)]


def features(text):
    counts = torch.zeros(len(ALPHABET) ** 2)
    for a, b in zip(text, text[1:]):
        counts[ALPHABET.index(a) * len(ALPHABET) + ALPHABET.index(b)] += 1
    return counts.sqrt()


first = windows(topics["string-methods"])[:500]
second = windows(topics["specialnames"] + topics["operator-summary"] + topics["objects"])[:500]
samples = [(features(t), 0.0) for t in first] + [(features(t), 1.0) for t in second]
random.shuffle(samples)
inputs = torch.stack([s[0] for s in samples])
labels = torch.tensor([s[1] for s in samples])
split = int(0.75 * len(inputs))
x_train, y_train = inputs[:split], labels[:split]
x_test, y_test = inputs[split:], labels[split:]

net = nn.Sequential(nn.Linear(inputs.shape[1], 48), nn.Tanh(), nn.Dropout(0.3), nn.Linear(48, 1))
bce = nn.BCEWithLogitsLoss()
opt = optim.Adam(net.parameters(), lr=2e-3)


def accuracy(x, y):
    net.eval()
    with torch.no_grad():
        predictions = torch.sigmoid(net(x)).squeeze(1) > 0.5
        hits = (predictions == y.bool()).float()
    net.train()
    return hits.mean().item()


for epoch in range(10):
    for rows in torch.randperm(split).split(50):
        opt.zero_grad()
        loss = bce(net(x_train[rows]).squeeze(1), y_train[rows])
        loss.backward()
        opt.step()
    print(f"epoch {epoch + 1}: loss {loss.item():.4f}, test accuracy {accuracy(x_test, y_test):.4f}")
