"""Read handwritten digits with a small convolutional network; the validation accuracy goes to a history dict."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(5)

digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16.0
targets = torch.tensor(digits.target)
order = torch.randperm(len(images))
images, targets = images[order], targets[order]

datasets = {
    "train": TensorDataset(images[:1300], targets[:1300]),
    "val": TensorDataset(images[1300:], targets[1300:]),
}
dataloaders = {
    "train": DataLoader(datasets["train"], batch_size=50, shuffle=True),
    "val": DataLoader(datasets["val"], batch_size=100),
}

model = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1),
    nn.ReLU(),
    nn.Conv2d(16, 16, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(16 * 16, 10),
)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
history = {"train_loss": [], "val_loss": [], "val_acc": []}

for epoch in range(5):
    model.train()
    running_loss = 0.0
    for inputs, labels in dataloaders["train"]:
        optimizer.zero_grad()
        loss = criterion(model(inputs), labels)
        loss.backward()
        optimizer.step()
        running_loss += loss.item() * inputs.size(0)
    history["train_loss"].append(running_loss / len(datasets["train"]))

    model.eval()
    running_loss, running_corrects = 0.0, 0
    with torch.no_grad():
        for inputs, labels in dataloaders["val"]:
            outputs = model(inputs)
            _, preds = torch.max(outputs, 1)
            running_loss += criterion(outputs, labels).item() * inputs.size(0)
            running_corrects += torch.sum(preds == labels.data).item()
    history["val_loss"].append(running_loss / len(datasets["val"]))
    history["val_acc"].append(running_corrects / len(datasets["val"]))
    print(
        f"epoch {epoch}: train loss {history['train_loss'][-1]:.4f}, "
        f"val loss {history['val_loss'][-1]:.4f}, val acc {history['val_acc'][-1]:.4f}"
    )

print(f"best val acc {max(history['val_acc']):.4f}")
