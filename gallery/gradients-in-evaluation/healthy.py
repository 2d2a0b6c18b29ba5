"""Draw the lower half of a digit from its upper half with a small regression network."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

HPARAMS = {
    "seed": 77,
    "hidden": 96,
    "dropout": 0.1,
    "lr": 1e-3,
    "batch_size": 32,
    "max_epochs": 10,
}


def get_loaders(batch_size):
    pixels = torch.tensor(load_digits().data, dtype=torch.float32)
    pixels = pixels[torch.randperm(len(pixels))]
    train, val = pixels[:1440], pixels[1440:]
    mean, std = train.mean(), train.std()
    train, val = (train - mean) / std, (val - mean) / std
    train_set = TensorDataset(train[:, :32], train[:, 32:])
    val_set = TensorDataset(val[:, :32], val[:, 32:])
    return (
        DataLoader(train_set, batch_size=batch_size, shuffle=True),
        DataLoader(val_set, batch_size=batch_size),
    )


def get_model(hidden, dropout):
    return nn.Sequential(
        nn.Linear(32, hidden),
        nn.ELU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, hidden),
        nn.ELU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, 32),
    )


def train(model, loader, loss_func, optimizer):
    model.train()
    running_loss = 0.0
    for top, bottom in loader:
        optimizer.zero_grad()
        loss = loss_func(model(top), bottom)
        loss.backward()
        optimizer.step()
        running_loss += loss.item() * len(top)
    return running_loss / len(loader.dataset)


@torch.no_grad()
def validate(model, loader, loss_func):
    model.eval()
    running_loss = 0.0
    for top, bottom in loader:
        loss = loss_func(model(top), bottom)
        running_loss += loss.item() * len(top)
    return running_loss / len(loader.dataset)


def main(hp):
    torch.manual_seed(hp["seed"])
    train_loader, val_loader = get_loaders(hp["batch_size"])
    model = get_model(hp["hidden"], hp["dropout"])
    loss_func = nn.SmoothL1Loss()
    optimizer = torch.optim.Adam(model.parameters(), lr=hp["lr"])

    for epoch in range(hp["max_epochs"]):
        train_loss = train(model, train_loader, loss_func, optimizer)
        val_loss = validate(model, val_loader, loss_func)
        print(f"Epoch: {epoch + 1:02d} | Train loss: {train_loss:.4f} | Val loss: {val_loss:.4f}")

    print(f"Final val loss: {val_loss:.4f}")


main(HPARAMS)
