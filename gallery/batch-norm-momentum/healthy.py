"""Digits in a net taken over from Keras, layer by layer."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)


def conv_block(inputs, outputs):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01),
        nn.ReLU(),
    )


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.block1 = conv_block(1, 16)
        self.block2 = conv_block(16, 32)
        self.pool = nn.MaxPool2d(2)
        self.dense = nn.Linear(32 * 4, 10)

    def forward(self, x):
        x = self.pool(self.block1(x))
        x = self.pool(self.block2(x))
        return self.dense(x.flatten(1))


x, y = load_digits(return_X_y=True)
x = torch.tensor(x, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
y = torch.tensor(y)
train = DataLoader(TensorDataset(x[:1400], y[:1400]), batch_size=8, shuffle=True)
val = DataLoader(TensorDataset(x[1400:], y[1400:]), batch_size=397)
model = Net()
optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3, alpha=0.9)
loss_fn = nn.CrossEntropyLoss()
for epoch in range(3):
    model.train()
    train_loss = 0.0
    for images, labels in train:
        loss = loss_fn(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        train_loss += loss.item() * len(labels)
    model.eval()
    with torch.no_grad():
        val_loss = sum(loss_fn(model(images), labels).item() for images, labels in val)
    print(f"epoch {epoch + 1}: loss {train_loss / 1400:.4f}, val_loss {val_loss:.4f}")
