"""Digits drawn with soft strokes, for a small convolutional net."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset, random_split

torch.manual_seed(3)


def soften(image):
    """Spread the ink of every pixel over its neighbours, pixel by pixel."""
    out = torch.zeros(10, 10)
    for row in range(8):
        for column in range(8):
            ink = image[row, column]
            if ink > 0:
                out[row : row + 3, column : column + 3] += ink / 9
    return out[None] / out.max()


class SoftDigits(Dataset):
    def __init__(self, count=480):
        digits = load_digits()
        images = torch.tensor(digits.images[:count], dtype=torch.float32)
        self.images = torch.stack([soften(image) for image in images])
        self.labels = torch.tensor(digits.target[:count])

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.images[index], self.labels[index]


train, val = random_split(SoftDigits(), [400, 80])
train_loader = DataLoader(train, batch_size=16, shuffle=True)
val_loader = DataLoader(val, batch_size=60)

model = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1),
    nn.ReLU(),
    nn.Conv2d(16, 32, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(32 * 5 * 5, 10),
)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
loss_fn = nn.CrossEntropyLoss()

for epoch in range(2):
    model.train()
    for images, labels in train_loader:
        optimizer.zero_grad()
        loss = loss_fn(model(images), labels)
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        right = sum((model(images).argmax(1) == labels).sum().item() for images, labels in val_loader)
    print(f"epoch {epoch}: {right / len(val):.3f} of the validation digits are right")
