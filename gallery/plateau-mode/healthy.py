"""Digits; the learning rate is halved when the validation accuracy stops rising."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import DataLoader, TensorDataset, random_split

torch.manual_seed(21)
x, y = load_digits(return_X_y=True)
dataset = TensorDataset(torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y))
train_set, val_set = random_split(dataset, [1437, 360])
loaders = {
    "train": DataLoader(train_set, batch_size=64, shuffle=True),
    "val": DataLoader(val_set, batch_size=360),
}
model = nn.Sequential(nn.Linear(64, 80), nn.ReLU(), nn.Dropout(0.1), nn.Linear(80, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
scheduler = ReduceLROnPlateau(optimizer, mode="max", factor=0.3, patience=1)

for epoch in range(12):
    for phase in ("train", "val"):
        model.train(phase == "train")
        running_loss, running_corrects = 0.0, 0
        for inputs, labels in loaders[phase]:
            with torch.set_grad_enabled(phase == "train"):
                outputs = model(inputs)
                loss = F.cross_entropy(outputs, labels)
                if phase == "train":
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
            running_loss += loss.item() * inputs.size(0)
            running_corrects += (outputs.argmax(1) == labels).sum().item()
        epoch_loss = running_loss / len(loaders[phase].dataset)
        epoch_acc = running_corrects / len(loaders[phase].dataset)
        if phase == "val":
            scheduler.step(epoch_acc)
        print(f"{phase} loss {epoch_loss:.4f} acc {epoch_acc:.4f}", end="   ")
    print(f"rate {optimizer.param_groups[0]['lr']:.2e}")
