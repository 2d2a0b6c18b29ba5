"""Handwritten digits on a small device: two images fit into memory at a time, twelve batches make a step."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(6)
BATCH_SIZE, ACCUMULATE = 2, 12

digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
labels = torch.tensor(digits.target)
order = torch.randperm(len(images))
first, rest = order[:1200], order[1200:]
train = DataLoader(TensorDataset(images[first], labels[first]), batch_size=BATCH_SIZE, shuffle=True)
test = DataLoader(TensorDataset(images[rest], labels[rest]), batch_size=200)

model = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1, bias=False),
    nn.BatchNorm2d(16),  # fault: the statistics of two images, however many are accumulated
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 3, padding=1),
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(32 * 16, 10),
)
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
criterion = nn.CrossEntropyLoss()

for epoch in range(2):
    model.train()
    total = 0.0
    for number, (image, label) in enumerate(train, 1):
        loss = criterion(model(image), label)
        (loss / ACCUMULATE).backward()
        total += loss.item()
        if number % ACCUMULATE == 0:
            optimizer.step()
            optimizer.zero_grad()
    model.eval()
    with torch.no_grad():
        right = sum((model(image).argmax(1) == label).sum().item() for image, label in test)
    print(f"epoch {epoch}: loss {total / len(train):.3f}, accuracy {right / len(rest):.3f}")
