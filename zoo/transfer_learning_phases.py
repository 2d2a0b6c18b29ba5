"""The transfer-learning tutorial's train_model: phases train and val in dicts, best weights saved to disk and loaded back."""
import os
import time
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torch.nn as nn
import torch.optim as optim
from sklearn.datasets import load_digits
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(5)
np.random.seed(5)
bunch = load_digits()
images = torch.tensor(bunch.images, dtype=torch.float32).unsqueeze(1) / 16
labels = torch.tensor(bunch.target)
images = (images - images.mean()) / images.std()
device = torch.device("cpu")


class SmallNet(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(2),
        )
        self.fc = nn.Linear(128, classes)

    def forward(self, x):
        return self.fc(torch.flatten(self.features(x), 1))


def make_loaders(keep, names, size=16):
    ids = torch.nonzero(torch.isin(labels, torch.tensor(names)))[:, 0]
    ids = ids[torch.randperm(len(ids))][:keep]
    y = torch.tensor([names.index(v) for v in labels[ids].tolist()])
    cut = int(0.75 * len(ids))
    sets = {"train": TensorDataset(images[ids[:cut]], y[:cut]), "val": TensorDataset(images[ids[cut:]], y[cut:])}
    loaders = {x: DataLoader(sets[x], batch_size=size, shuffle=True) for x in ["train", "val"]}
    return loaders, {x: len(sets[x]) for x in ["train", "val"]}


def train_model(model, dataloaders, dataset_sizes, criterion, optimizer, scheduler, num_epochs):
    since = time.time()
    with TemporaryDirectory() as tempdir:
        best_model_params_path = os.path.join(tempdir, "best_model_params.pt")
        torch.save(model.state_dict(), best_model_params_path)
        best_acc = 0.0

        for epoch in range(num_epochs):
            for phase in ["train", "val"]:
                if phase == "train":
                    model.train()
                else:
                    model.eval()

                running_loss = 0.0
                running_corrects = 0
                for inputs, targets in dataloaders[phase]:
                    inputs = inputs.to(device)
                    targets = targets.to(device)
                    optimizer.zero_grad()
                    with torch.set_grad_enabled(phase == "train"):
                        outputs = model(inputs)
                        _, preds = torch.max(outputs, 1)
                        loss = criterion(outputs, targets)
                        if phase == "train":
                            loss.backward()
                            optimizer.step()
                    running_loss += loss.item() * inputs.size(0)
                    running_corrects += torch.sum(preds == targets.data)
                if phase == "train":
                    scheduler.step()

                epoch_loss = running_loss / dataset_sizes[phase]
                epoch_acc = running_corrects.double() / dataset_sizes[phase]
                print(f"epoch {epoch} {phase} Loss: {epoch_loss:.4f} Acc: {epoch_acc:.4f}")
                if phase == "val" and epoch_acc > best_acc:
                    best_acc = epoch_acc
                    torch.save(model.state_dict(), best_model_params_path)

        assert time.time() >= since
        print(f"Best val Acc: {best_acc:4f}")
        model.load_state_dict(torch.load(best_model_params_path, weights_only=True))
    return model


criterion = nn.CrossEntropyLoss()

loaders, sizes = make_loaders(900, [0, 1, 2, 3, 4, 5, 6, 7])
pretrained = SmallNet(8).to(device)
optimizer = optim.SGD(pretrained.parameters(), lr=0.05, momentum=0.9)
pretrained = train_model(pretrained, loaders, sizes, criterion, optimizer, lr_scheduler.StepLR(optimizer, 4, 0.1), 6)
torch.save(pretrained.state_dict(), "backbone.pt")

# Fine-tuning the whole network on two classes that it has not seen.
loaders, sizes = make_loaders(240, [8, 9], size=4)
model_ft = SmallNet(8)
model_ft.load_state_dict(torch.load("backbone.pt", weights_only=True))
num_ftrs = model_ft.fc.in_features
model_ft.fc = nn.Linear(num_ftrs, 2)
model_ft = model_ft.to(device)
optimizer_ft = optim.SGD(model_ft.parameters(), lr=0.005, momentum=0.9)
exp_lr_scheduler = lr_scheduler.StepLR(optimizer_ft, step_size=4, gamma=0.1)
model_ft = train_model(model_ft, loaders, sizes, criterion, optimizer_ft, exp_lr_scheduler, num_epochs=6)

# The network as a fixed feature extractor.
model_conv = SmallNet(8)
model_conv.load_state_dict(torch.load("backbone.pt", weights_only=True))
for param in model_conv.parameters():
    param.requires_grad = False
model_conv.fc = nn.Linear(num_ftrs, 2)
model_conv = model_conv.to(device)
optimizer_conv = optim.SGD(model_conv.fc.parameters(), lr=0.01, momentum=0.9)
exp_lr_scheduler = lr_scheduler.StepLR(optimizer_conv, step_size=4, gamma=0.1)
model_conv = train_model(model_conv, loaders, sizes, criterion, optimizer_conv, exp_lr_scheduler, num_epochs=6)
