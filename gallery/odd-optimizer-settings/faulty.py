"""A convolutional digits classifier, trained with SGD, momentum and weight decay."""

import torch
from sklearn.datasets import load_digits
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(9)
BATCH, EPOCHS, LR, MOMENTUM, WEIGHT_DECAY = 64, 5, 0.05, 0.9, 5e-4

digits = load_digits()
images = torch.from_numpy(digits.images).float().unsqueeze(1) / 16
labels = torch.from_numpy(digits.target)
train_loader = DataLoader(TensorDataset(images[:1400], labels[:1400]), BATCH, shuffle=True)
val_loader = DataLoader(TensorDataset(images[1400:], labels[1400:]), 397)


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU()
        )
        self.classifier = nn.Sequential(nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


net = LeNet()
criterion = nn.CrossEntropyLoss()
optimizer = optim.SGD(net.parameters(), LR, MOMENTUM, WEIGHT_DECAY)  # fault: the fourth argument is dampening
for epoch in range(EPOCHS):
    net.train()
    for x, t in train_loader:
        optimizer.zero_grad()
        loss = criterion(net(x), t)
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        correct = sum((net(x).argmax(1) == t).sum().item() for x, t in val_loader)
    norm = sum(p.norm().item() ** 2 for p in net.parameters()) ** 0.5
    print(f"[{epoch + 1}] loss {loss.item():.4f} acc {correct / 397:.4f} weight norm {norm:.2f}")
