"""Digits, with an iterator over the loader that the loop asks for each batch itself, as code that came from TensorFlow does."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

torch.manual_seed(4)
bunch = load_digits()
pixels = torch.tensor(bunch.images, dtype=torch.float32).unsqueeze(1) / 8 - 1
train_part, test_part = random_split(TensorDataset(pixels, torch.tensor(bunch.target)), [1400, 397])
train_feed = DataLoader(train_part, batch_size=50, shuffle=True)
test_feed = DataLoader(test_part, batch_size=100)

net = nn.Sequential(nn.Conv2d(1, 12, 3), nn.ReLU(), nn.Conv2d(12, 24, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(96, 10))
optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)

for epoch in range(6):
    net.train()
    feed = iter(train_feed)
    for step in range(len(train_feed)):
        images, labels = next(feed)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()
    net.eval()
    feed, right = iter(test_feed), 0
    with torch.no_grad():
        for step in range(len(test_feed)):
            images, labels = next(feed)
            right += (net(images).argmax(1) == labels).sum().item()
    print(f"epoch {epoch + 1}: loss {loss.item():.3f}, accuracy {right / len(test_part):.3f}")
