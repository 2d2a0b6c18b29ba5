"""Digits convnet with OneCycleLR stepped after every batch; the cycle is as long as the run."""
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader, TensorDataset


def get_lr(optimizer):
    for param_group in optimizer.param_groups:
        return param_group["lr"]


class ImageClassificationBase(nn.Module):
    def training_step(self, batch):
        images, labels = batch
        return F.cross_entropy(self(images), labels)

    def validation_step(self, batch):
        images, labels = batch
        out = self(images)
        return {"n": len(labels), "loss": F.cross_entropy(out, labels).detach(), "hits": (out.argmax(1) == labels).sum()}

    def validation_epoch_end(self, outputs):
        n = sum(o["n"] for o in outputs)
        return {"val_loss": sum(o["loss"].item() * o["n"] for o in outputs) / n,
                "val_acc": sum(o["hits"].item() for o in outputs) / n}


class SmallResNet(ImageClassificationBase):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True), nn.MaxPool2d(2))
        self.res1 = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True))
        self.classifier = nn.Sequential(nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(64, 10))

    def forward(self, xb):
        out = self.conv1(xb)
        out = self.res1(out) + out
        return self.classifier(out)


@torch.no_grad()
def evaluate(model, val_loader):
    model.eval()
    return model.validation_epoch_end([model.validation_step(batch) for batch in val_loader])


def fit_one_cycle(epochs, max_lr, model, train_loader, val_loader, weight_decay, grad_clip):
    history = []
    optimizer = torch.optim.Adam(model.parameters(), max_lr, weight_decay=weight_decay)
    sched = OneCycleLR(optimizer, max_lr, epochs=epochs, steps_per_epoch=len(train_loader))
    for epoch in range(epochs):
        model.train()
        train_losses, lrs = [], []
        for batch in train_loader:
            loss = model.training_step(batch)
            train_losses.append(loss.detach())
            loss.backward()
            nn.utils.clip_grad_value_(model.parameters(), grad_clip)
            optimizer.step()
            optimizer.zero_grad()
            lrs.append(get_lr(optimizer))
            sched.step()
        result = evaluate(model, val_loader)
        result["train_loss"] = torch.stack(train_losses).mean().item()
        print("Epoch [{}], last_lr: {:.5f}, train_loss: {:.4f}, val_loss: {:.4f}, val_acc: {:.4f}".format(
            epoch, lrs[-1], result["train_loss"], result["val_loss"], result["val_acc"]))
        history.append(result)
    return history


torch.manual_seed(70)
X, y = load_digits(return_X_y=True)
X = torch.tensor(X, dtype=torch.float32).reshape(-1, 1, 8, 8)
y = torch.tensor(y)
train_ids, val_ids = train_test_split(torch.arange(len(y)).numpy(), test_size=0.2, random_state=70)
X = (X - X[train_ids].mean()) / X[train_ids].std()
train_dl = DataLoader(TensorDataset(X[train_ids], y[train_ids]), 64, shuffle=True, drop_last=True)
valid_dl = DataLoader(TensorDataset(X[val_ids], y[val_ids]), 128)
history = fit_one_cycle(8, 1e-2, SmallResNet(), train_dl, valid_dl, weight_decay=1e-4, grad_clip=0.5)
print("final accuracy", round(history[-1]["val_acc"], 4))
