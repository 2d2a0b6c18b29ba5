"""CNN with batch norm and random shifts on digits; a checkpoint per improvement, the best one is loaded at the end."""
import os

import numpy as np
import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, Dataset

SEED = 2
CKPT_DIR = "checkpoints"


class AugmentedDigits(Dataset):
    def __init__(self, images, targets, augment, mean, std):
        self.images = (images - mean) / std
        self.targets = targets
        self.augment = augment
        self.fill = float((0.0 - mean) / std)

    def __getitem__(self, index):
        img = self.images[index]
        if self.augment:
            # shift by up to one pixel, the border is background
            dx, dy = np.random.randint(-1, 2, size=2)
            padded = np.pad(img, 1, constant_values=self.fill)
            img = padded[1 + dy:9 + dy, 1 + dx:9 + dx]
        return torch.from_numpy(np.ascontiguousarray(img, dtype=np.float32)).unsqueeze(0), int(self.targets[index])

    def __len__(self):
        return len(self.targets)


def conv_bn(c_in, c_out):
    return nn.Sequential(nn.Conv2d(c_in, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU())


class CNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.block1 = conv_bn(1, 12)
        self.block2 = conv_bn(12, 24)
        self.pool = nn.MaxPool2d(2)
        self.fc = nn.Linear(24 * 4, 10)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x):
        x = self.pool(self.block1(x))
        x = self.pool(self.block2(x))
        return self.fc(torch.flatten(x, 1))


def evaluate(model, loader, criterion):
    model.eval()
    loss = correct = 0.0
    with torch.no_grad():
        for images, targets in loader:
            out = model(images)
            loss += criterion(out, targets).item() * images.size(0)
            correct += (out.argmax(1) == targets).sum().item()
    return loss / len(loader.dataset), correct / len(loader.dataset)


def main():
    np.random.seed(SEED)
    torch.manual_seed(SEED)
    digits = load_digits()
    order = np.random.permutation(len(digits.images))
    tr, va = order[:1400], order[1400:]
    mean, std = digits.images[tr].mean(), digits.images[tr].std()
    train_set = AugmentedDigits(digits.images[tr], digits.target[tr], True, mean, std)
    val_set = AugmentedDigits(digits.images[va], digits.target[va], False, mean, std)
    train_loader = DataLoader(train_set, batch_size=56, shuffle=True)
    val_loader = DataLoader(val_set, batch_size=128)

    model, criterion = CNN(), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[3, 5], gamma=0.2)
    os.makedirs(CKPT_DIR, exist_ok=True)
    best_path, best_acc = os.path.join(CKPT_DIR, "best.pth"), 0.0
    for epoch in range(6):
        model.train()
        running = 0.0
        for images, targets in train_loader:
            loss = criterion(model(images), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            running += loss.item() * images.size(0)
        val_loss, val_acc = evaluate(model, val_loader, criterion)
        print(f"Epoch {epoch} lr {scheduler.get_last_lr()[0]:g} train {running / len(train_set):.4f} val {val_loss:.4f} acc {val_acc:.4f}")
        scheduler.step()
        if val_acc > best_acc:
            best_acc = val_acc
            torch.save({"epoch": epoch, "state_dict": model.state_dict(), "optimizer": optimizer.state_dict(), "acc": val_acc}, best_path)
    checkpoint = torch.load(best_path)
    model.load_state_dict(checkpoint["state_dict"])
    print("loaded epoch", checkpoint["epoch"], "accuracy %.4f" % evaluate(model, val_loader, criterion)[1])


if __name__ == "__main__":
    main()
