"""Train a small convolutional network on digits, with the learning rate cut in three every four epochs."""

import types

import torch
import torch.nn as nn
import torch.utils.data as data
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.optim.lr_scheduler import StepLR

opt = types.SimpleNamespace(seed=10, epochs=9, batch=32, lr=0.02, step_size=4, gamma=0.3)
torch.manual_seed(opt.seed)


def to_dataset(images, labels, mean, std):
    images = (torch.as_tensor(images, dtype=torch.float32) - mean) / std
    return data.TensorDataset(images[:, None], torch.as_tensor(labels))


digits = load_digits()
images_tr, images_va, labels_tr, labels_va = train_test_split(
    digits.images, digits.target, test_size=0.2, random_state=opt.seed, shuffle=True
)
mean, std = images_tr.mean(), images_tr.std()
train_ds = to_dataset(images_tr, labels_tr, mean, std)
valid_ds = to_dataset(images_va, labels_va, mean, std)
train_dl = data.DataLoader(train_ds, opt.batch, shuffle=True)
valid_dl = data.DataLoader(valid_ds, 2 * opt.batch)

model = nn.Sequential(
    nn.Conv2d(1, 8, 3),
    nn.GroupNorm(2, 8),
    nn.ReLU(),
    nn.Conv2d(8, 16, 3),
    nn.GroupNorm(4, 16),
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(16 * 4 * 4, 10),
)
loss_func = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=opt.lr, momentum=0.9)
scheduler = StepLR(optimizer, step_size=opt.step_size, gamma=opt.gamma)


def validate():
    model.eval()
    loss, right = 0.0, 0
    with torch.no_grad():
        for xb, yb in valid_dl:
            out = model(xb)
            loss += loss_func(out, yb).item() * len(yb)
            right += (out.argmax(1) == yb).sum().item()
    return loss / len(valid_ds), right / len(valid_ds)


for epoch in range(opt.epochs):
    model.train()
    train_loss = 0.0
    for xb, yb in train_dl:
        loss = loss_func(model(xb), yb)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        train_loss += loss.item() * len(yb) / len(train_ds)
    scheduler.step()
    valid_loss, valid_acc = validate()
    print(f"{epoch:2d}  train loss {train_loss:.4f}  valid loss {valid_loss:.4f}  valid acc {valid_acc:.4f}")

print(f"valid acc after {opt.epochs} epochs: {valid_acc:.4f}")
