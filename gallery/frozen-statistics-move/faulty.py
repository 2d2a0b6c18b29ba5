"""A backbone learnt on five digits is frozen and given a new head for the other five."""
import torch
import torch.nn as nn
from torch.utils.data import DataLoader, TensorDataset
from sklearn.datasets import load_digits


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1 = nn.Conv2d(1, 16, 3, padding=1)
        self.b1 = nn.BatchNorm2d(16)
        self.c2 = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.b2 = nn.BatchNorm2d(32)

    def forward(self, x):
        x = torch.relu(self.b1(self.c1(x)))
        x = torch.relu(self.b2(self.c2(x)))
        return x.flatten(1)


class TransferNet(nn.Module):
    def __init__(self, backbone, n_out):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(512, n_out)

    def forward(self, x):
        return self.head(self.backbone(x))

    def freeze_backbone(self):
        for p in self.backbone.parameters():
            p.requires_grad = False


def make_loader(x, y, shuffle):
    return DataLoader(TensorDataset(x, y), batch_size=32, shuffle=shuffle)


def fit(model, loader, val, epochs, lr):
    params = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(params, lr=lr)
    for epoch in range(epochs):
        model.train()
        for x, y in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)  # fault: the frozen backbone is in training mode
            loss.backward()
            optimizer.step()
        model.eval()
        correct = 0
        with torch.no_grad():
            for x, y in val:
                correct += (model(x).argmax(1) == y).sum().item()
        print(f"  {epoch} loss {loss.item():.3f} acc {correct / len(val.dataset):.3f}")


def main():
    torch.manual_seed(0)
    data = load_digits()
    x = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16
    y = torch.tensor(data.target)
    order = torch.randperm(len(x))
    x, y = x[order], y[order]
    low = y < 5
    src_x, src_y = x[low], y[low]
    tgt_x, tgt_y = 1 - x[~low], y[~low] - 5
    print("source task")
    net = TransferNet(Backbone(), 5)
    fit(net, make_loader(src_x[:700], src_y[:700], True), make_loader(src_x[700:], src_y[700:], False), 4, 1e-3)
    print("target task")
    new = TransferNet(net.backbone, 5)
    new.freeze_backbone()
    fit(new, make_loader(tgt_x[:700], tgt_y[:700], True), make_loader(tgt_x[700:], tgt_y[700:], False), 8, 1e-3)


main()
