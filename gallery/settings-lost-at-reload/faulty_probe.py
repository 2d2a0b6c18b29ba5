"""A net for ten digits, stored and read again; then its features serve to tell odd digits from even ones."""
import io

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits

torch.manual_seed(8)
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x / 8 - 1, dtype=torch.float32), torch.tensor(y)
order = torch.randperm(len(x))
train, test = order[:1400], order[1400:]
SHAPES = {"relu": torch.relu, "tanh": torch.tanh, "sine": torch.sin}


class Net(nn.Module):
    def __init__(self, width=64, shape="relu"):
        super().__init__()
        self.one, self.two, self.head = nn.Linear(64, width), nn.Linear(width, width), nn.Linear(width, 10)
        self.width, self.shape = width, SHAPES[shape]

    def forward(self, rows):
        return self.head(self.shape(self.two(self.shape(self.one(rows)))))


def fit(net, parameters, target, epochs):
    optimizer = torch.optim.Adam(parameters, lr=2e-3)
    for _ in range(epochs):
        for rows in train[torch.randperm(len(train))].split(50):
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x[rows]), target[rows])
            loss.backward()
            optimizer.step()
    return loss.item()


def accuracy(net, target):
    with torch.no_grad():
        return (net(x[test]).argmax(1) == target[test]).float().mean().item()


options = {"width": 64, "shape": "sine"}
net = Net(**options)
print("digits: loss", round(fit(net, net.parameters(), y, 8), 4), "accuracy", round(accuracy(net, y), 3))
file = io.BytesIO()
torch.save({"options": options, "weights": net.state_dict()}, file)

file.seek(0)
stored = torch.load(file)
again = Net(width=stored["options"]["width"])  # fault: the other option is lost
again.load_state_dict(stored["weights"])
print("read again: accuracy", round(accuracy(again, y), 3))
again.requires_grad_(False)
again.head = nn.Linear(again.width, 2)
print("odd: loss", round(fit(again, again.head.parameters(), y % 2, 4), 4), "accuracy", round(accuracy(again, y % 2), 3))
