"""Recognise handwritten digits with a convolutional network that uses batch norm and dropout."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn, optim
from torch.utils.data import DataLoader, Dataset

np.random.seed(0)
torch.manual_seed(0)


class DigitsDataset(Dataset):
    def __init__(self, images, labels, mean, std):
        self.images = ((images - mean) / std).astype(np.float32)
        self.labels = labels.astype(np.int64)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, idx):
        return torch.from_numpy(self.images[idx]).unsqueeze(0), self.labels[idx]


def conv_block(c_in, c_out):
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(c_out),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
    )


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(conv_block(1, 12), conv_block(12, 24))
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(24 * 4, 64),
            nn.ReLU(inplace=True),
            nn.Dropout(0.4),
            nn.Linear(64, 10),
        )

    def forward(self, x):
        return self.classifier(self.features(x))


X, y = load_digits(return_X_y=True)
X = X.reshape(-1, 8, 8)
X_train, X_val, y_train, y_val = train_test_split(X, y, test_size=0.2, stratify=y)
mean, std = X_train.mean(), X_train.std()
train_loader = DataLoader(DigitsDataset(X_train, y_train, mean, std), batch_size=64, shuffle=True)
val_loader = DataLoader(DigitsDataset(X_val, y_val, mean, std), batch_size=64)

net = Net()
criterion = nn.CrossEntropyLoss()
optimizer = optim.Adam(net.parameters(), lr=1e-3)

for epoch in range(8):
    net.train()
    train_loss, n_seen = 0.0, 0
    for inputs, targets in train_loader:
        optimizer.zero_grad()
        loss = criterion(net(inputs), targets)
        loss.backward()
        optimizer.step()
        train_loss += loss.item() * inputs.size(0)
        n_seen += inputs.size(0)
    train_loss /= n_seen

    net.eval()
    val_loss, n_correct, n_val = 0.0, 0, 0
    with torch.no_grad():
        for inputs, targets in val_loader:
            outputs = net(inputs)
            val_loss += criterion(outputs, targets).item() * inputs.size(0)
            n_correct += (outputs.argmax(dim=1) == targets).sum().item()
            n_val += inputs.size(0)
    val_loss, val_acc = val_loss / n_val, n_correct / n_val
    print(f"epoch {epoch + 1}  loss {train_loss:.4f}  val_loss {val_loss:.4f}  val_acc {val_acc:.4f}")

print(f"Done. Validation loss {val_loss:.4f}, accuracy {val_acc:.4f}")
