"""Iris species: the head first, then the whole net, in one loop with one plan for the learning rate."""

import torch
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(4, 24), nn.Tanh(), nn.Linear(24, 24), nn.Tanh())
        self.head = nn.Linear(24, 3)

    def forward(self, x):
        return self.head(self.trunk(x))


def accuracy(net, x, y):
    net.eval()
    with torch.no_grad():
        right = (net(x).argmax(1) == y).float().mean().item()
    net.train()
    return right


def main(head_epochs=4, full_epochs=26, rate=0.05):
    torch.manual_seed(12)
    x, y = load_iris(return_X_y=True)
    x, x_test, y, y_test = train_test_split(x, y, test_size=0.3, random_state=12, stratify=y)
    mean, spread = x.mean(0), x.std(0)
    x, x_test = (torch.tensor((part - mean) / spread, dtype=torch.float32) for part in (x, x_test))
    y, y_test = torch.as_tensor(y), torch.as_tensor(y_test)
    loader = DataLoader(TensorDataset(x, y), batch_size=15, shuffle=True)
    net = Net()
    net.trunk.requires_grad_(False)
    optimizer = torch.optim.SGD(net.head.parameters(), lr=rate, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=head_epochs + full_epochs)
    for epoch in range(head_epochs + full_epochs):
        if epoch == head_epochs:
            net.trunk.requires_grad_(True)
            optimizer.add_param_group({"params": net.trunk.parameters(), "lr": scheduler.get_last_lr()[0], "initial_lr": rate})
            scheduler.base_lrs.append(rate)
        for inputs, labels in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(inputs), labels)
            loss.backward()
            optimizer.step()
        scheduler.step()
        if epoch % 5 == 4:
            print(f"epoch {epoch + 1}: loss {loss.item():.3f}, accuracy {accuracy(net, x_test, y_test):.3f}")


main()
