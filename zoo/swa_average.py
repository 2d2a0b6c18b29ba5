"""Stochastic weight averaging on digits (AveragedModel, SWALR, batch-norm statistics recomputed)."""
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.optim.swa_utils import SWALR, AveragedModel, update_bn
from torch.utils.data import DataLoader, TensorDataset

EPOCHS, SWA_START = 10, 6


def accuracy(net, loader):
    net.eval()
    with torch.no_grad():
        return sum((net(x).argmax(1) == y).sum().item() for x, y in loader) / len(loader.dataset)


def main():
    torch.manual_seed(37)
    X, y = load_digits(return_X_y=True)
    X_tr, X_te, y_tr, y_te = train_test_split(X, y, test_size=0.25, random_state=37, stratify=y)
    mean, std = X_tr.mean(), X_tr.std()
    X_tr, X_te = (torch.tensor((a - mean) / std, dtype=torch.float32) for a in (X_tr, X_te))
    train_loader = DataLoader(TensorDataset(X_tr, torch.tensor(y_tr)), batch_size=64, shuffle=True, drop_last=True)
    test_loader = DataLoader(TensorDataset(X_te, torch.tensor(y_te)), batch_size=150)

    model = nn.Sequential(
        nn.Linear(64, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU(),
        nn.Linear(64, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU(),
        nn.Linear(64, 10),
    )
    swa_model = AveragedModel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    warm = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=SWA_START, eta_min=0.02)
    swa_scheduler = SWALR(optimizer, swa_lr=0.02, anneal_epochs=1)
    criterion = nn.CrossEntropyLoss()

    for epoch in range(EPOCHS):
        model.train()
        total = 0.0
        for xb, yb in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(xb), yb)
            loss.backward()
            optimizer.step()
            total += loss.item()
        if epoch >= SWA_START:
            swa_model.update_parameters(model)
            swa_scheduler.step()
        else:
            warm.step()
        print(f"epoch {epoch} lr {optimizer.param_groups[0]['lr']:.4f} loss {total / len(train_loader):.4f} "
              f"accuracy {accuracy(model, test_loader):.4f}")

    update_bn(train_loader, swa_model)
    print(f"averaged over {int(swa_model.n_averaged)} epochs: accuracy {accuracy(swa_model, test_loader):.4f}")


if __name__ == "__main__":
    main()
