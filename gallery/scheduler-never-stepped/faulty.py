"""Wine cultivars from chemistry, with a cosine decay of the learning rate, run by a small trainer class."""

import torch
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader, TensorDataset


class Trainer:
    def __init__(self, model, epochs, lr=0.1):
        self.model = model
        self.epochs = epochs
        self.criterion = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
        self.scheduler = CosineAnnealingLR(self.optimizer, T_max=epochs)  # fault: nothing ever steps it

    def train_one_epoch(self, loader):
        self.model.train()
        total = 0.0
        for features, cultivar in loader:
            self.optimizer.zero_grad()
            loss = self.criterion(self.model(features), cultivar)
            loss.backward()
            self.optimizer.step()
            total += loss.item() * len(cultivar)
        return total / len(loader.dataset)

    def validate(self, loader):
        self.model.eval()
        right = 0
        with torch.inference_mode():
            for features, cultivar in loader:
                right += (self.model(features).argmax(dim=1) == cultivar).sum().item()
        return right / len(loader.dataset)

    def fit(self, train, val):
        for epoch in range(self.epochs):
            loss = self.train_one_epoch(train)
            print(f"{epoch:2d} | train loss {loss:.4f} | val accuracy {self.validate(val):.3f}")


def make_loaders():
    x, y = load_wine(return_X_y=True)
    x_train, x_val, y_train, y_val = train_test_split(x, y, test_size=0.3, random_state=0, stratify=y)
    scaler = StandardScaler().fit(x_train)
    sets = [
        TensorDataset(torch.tensor(scaler.transform(a), dtype=torch.float32), torch.tensor(b))
        for a, b in ((x_train, y_train), (x_val, y_val))
    ]
    return DataLoader(sets[0], batch_size=16, shuffle=True), DataLoader(sets[1], batch_size=54)


if __name__ == "__main__":
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(13, 32), nn.Tanh(), nn.Linear(32, 3))
    Trainer(net, epochs=15).fit(*make_loaders())
