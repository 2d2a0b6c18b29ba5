"""Digits from a batch generator that reshuffles between epochs."""
import numpy as np
import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from sklearn.utils import shuffle

torch.manual_seed(44)
np.random.seed(44)


class BatchGenerator:
    def __init__(self, x, y, size):
        self.x, self.y, self.size = x, y, size
        self.epoch = 0

    def __iter__(self):
        if self.epoch > 0:
            order = np.random.permutation(len(self.x))
            self.x = self.x[order]  # fault: the labels stay
        self.epoch += 1
        for i in range(0, len(self.x), self.size):
            yield torch.from_numpy(self.x[i:i + self.size]), torch.from_numpy(self.y[i:i + self.size])


digits = load_digits()
data, target = shuffle(digits.data.astype(np.float32) / 16, digits.target, random_state=44)
train_gen = BatchGenerator(data[:1300], target[:1300], 50)
x_val, y_val = torch.from_numpy(data[1300:]), torch.from_numpy(target[1300:])

net = nn.Sequential(nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 10))
optimizer = torch.optim.RMSprop(net.parameters(), lr=1e-3)
criterion = nn.CrossEntropyLoss()
for epoch in range(12):
    net.train()
    total = batches = 0
    for xb, yb in train_gen:
        optimizer.zero_grad()
        loss = criterion(net(xb), yb)
        loss.backward()
        optimizer.step()
        total += loss.item()
        batches += 1
    net.eval()
    with torch.no_grad():
        out = net(x_val)
    print("Epoch {:2d} | train {:.4f} | val {:.4f} | acc {:.3f}".format(epoch, total / batches, criterion(out, y_val).item(), (out.argmax(1) == y_val).float().mean().item()))
