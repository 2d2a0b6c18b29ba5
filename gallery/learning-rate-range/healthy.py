"""Train a network on handwritten digits from a configuration dictionary."""
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

config = {
    "seed": 4,
    "data": {"val_size": 0.2, "batch_size": 32},
    "model": {"widths": [64, 64, 32, 10]},
    "optimizer": {"name": "SGD", "lr": 0.02, "momentum": 0.9, "nesterov": True},
    "epochs": 10,
}


def build_model(widths):
    layers = []
    for n_in, n_out in zip(widths, widths[1:]):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def build_optimizer(parameters, name, **kwargs):
    return getattr(torch.optim, name)(parameters, **kwargs)


def build_data(val_size, batch_size, seed):
    x, y = load_digits(return_X_y=True)
    x_train, x_val, y_train, y_val = train_test_split(x, y, test_size=val_size, stratify=y, random_state=seed)
    mean, std = x_train.mean(), x_train.std()
    datasets = [
        TensorDataset(torch.tensor((part - mean) / std, dtype=torch.float32), torch.tensor(labels))
        for part, labels in ((x_train, y_train), (x_val, y_val))
    ]
    return DataLoader(datasets[0], batch_size, shuffle=True), DataLoader(datasets[1], 4 * batch_size)


torch.manual_seed(config["seed"])
train_loader, val_loader = build_data(**config["data"], seed=config["seed"])
model = build_model(config["model"]["widths"])
optimizer = build_optimizer(model.parameters(), **config["optimizer"])
criterion = nn.CrossEntropyLoss()

for epoch in range(config["epochs"]):
    model.train()
    for x, y in train_loader:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()

    model.eval()
    val_loss, val_hits, val_n = 0.0, 0, 0
    with torch.no_grad():
        for x, y in val_loader:
            logits = model(x)
            val_loss += criterion(logits, y).item() * len(y)
            val_hits += (logits.argmax(1) == y).sum().item()
            val_n += len(y)
    print({"epoch": epoch, "val_loss": round(val_loss / val_n, 4), "val_acc": round(val_hits / val_n, 4)})

print(f"final val_acc {val_hits / val_n:.4f}")
