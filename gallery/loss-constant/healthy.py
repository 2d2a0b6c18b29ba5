"""Digits with a convolutional network; the loss is normalised so that learning curves are comparable."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

torch.manual_seed(0)
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16.0
labels = torch.tensor(digits.target)
train, valid = random_split(TensorDataset(images, labels), [1400, len(labels) - 1400])

net = nn.Sequential(
    nn.Conv2d(1, 8, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(8, 16, 3, padding=1),
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(16 * 4 * 4, 10),
)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)


def run_epoch(loader):
    history = []
    for image, label in loader:
        loss = criterion(net(image), label)
        loss = loss / torch.log(torch.tensor(10.0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    return sum(history) / len(history)


@torch.no_grad()
def accuracy(loader):
    net.eval()
    hits = sum((net(image).argmax(1) == label).sum().item() for image, label in loader)
    net.train()
    return hits / len(loader.dataset)


train_loader = DataLoader(train, batch_size=64, shuffle=True)
valid_loader = DataLoader(valid, batch_size=128)
for epoch in range(5):
    mean_loss = run_epoch(train_loader)
    print(f"epoch {epoch + 1}: loss {mean_loss:.6f}, accuracy {accuracy(valid_loader):.3f}")
