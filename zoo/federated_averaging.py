"""Federated averaging: each round some clients with skewed labels train a copy of the global model; weights are averaged."""
import copy

import numpy as np
import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, Subset, TensorDataset

CLIENTS, ROUNDS, PER_ROUND, LOCAL_EPOCHS = 8, 6, 4, 2


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 12, 3, padding=1)
        self.fc1, self.fc2 = nn.Linear(12 * 16, 48), nn.Linear(48, 10)

    def forward(self, x):
        x = nn.functional.max_pool2d(torch.relu(self.conv(x)), 2)
        return self.fc2(torch.relu(self.fc1(x.flatten(1))))


def dirichlet_split(labels, clients, alpha, rng):
    parts = [[] for _ in range(clients)]
    for c in np.unique(labels):
        of_class = rng.permutation(np.flatnonzero(labels == c))
        cuts = (np.cumsum(rng.dirichlet([alpha] * clients)) * len(of_class)).astype(int)[:-1]
        for part, chunk in zip(parts, np.split(of_class, cuts)):
            part.extend(chunk.tolist())
    return parts


class LocalUpdate:
    def __init__(self, dataset, ids):
        self.loader = DataLoader(Subset(dataset, ids), batch_size=32, shuffle=True)
        self.examples = len(ids)
        self.loss_func = nn.CrossEntropyLoss()

    def train(self, net):
        net.train()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
        losses = []
        for _ in range(LOCAL_EPOCHS):
            for images, labels in self.loader:
                net.zero_grad()
                loss = self.loss_func(net(images), labels)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
        return net.state_dict(), sum(losses) / len(losses)


def fed_avg(states, sizes):
    average = copy.deepcopy(states[0])
    for key in average:
        average[key] = sum(state[key] * (n / sum(sizes)) for state, n in zip(states, sizes))
    return average


def test(net, dataset):
    net.eval()
    right = 0
    with torch.no_grad():
        for images, labels in DataLoader(dataset, batch_size=128):
            right += (net(images).argmax(1) == labels).sum().item()
    return right / len(dataset)


rng = np.random.default_rng(0)
torch.manual_seed(0)
digits = load_digits()
images = torch.tensor(digits.images / 16.0, dtype=torch.float32).unsqueeze(1)
images = (images - 0.305) / 0.376
labels = torch.tensor(digits.target)
order = torch.randperm(len(labels))
test_set = TensorDataset(images[order[:400]], labels[order[:400]])
train_set = TensorDataset(images[order[400:]], labels[order[400:]])
clients = [LocalUpdate(train_set, ids) for ids in dirichlet_split(train_set.tensors[1].numpy(), CLIENTS, 1.0, rng)]

net_glob = Net()
for round_ in range(ROUNDS):
    chosen = rng.choice(CLIENTS, PER_ROUND, replace=False)
    results = [clients[i].train(copy.deepcopy(net_glob)) for i in chosen]
    net_glob.load_state_dict(fed_avg([state for state, _ in results], [clients[i].examples for i in chosen]))
    print(f"round {round_} clients {sorted(chosen.tolist())} local loss {np.mean([loss for _, loss in results]):.3f} "
          f"global accuracy {test(net_glob, test_set):.3f}")
