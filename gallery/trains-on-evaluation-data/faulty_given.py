"""Which of three cultivars is this wine? One function makes a pass, with or without an optimiser."""

import torch
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def loaders():
    x, y = load_wine(return_X_y=True)
    x, x_test, y, y_test = train_test_split(x, y, test_size=0.2, random_state=5, stratify=y)
    x, x_valid, y, y_valid = train_test_split(x, y, test_size=0.3, random_state=5, stratify=y)
    scaler = StandardScaler().fit(x)
    for part, labels, shuffle in ((x, y, True), (x_valid, y_valid, False), (x_test, y_test, False)):
        tensors = torch.tensor(scaler.transform(part), dtype=torch.float32), torch.as_tensor(labels)
        yield DataLoader(TensorDataset(*tensors), batch_size=12, shuffle=shuffle)


def make_pass(net, batches, optimizer=None):
    net.train(optimizer is not None)
    total = right = count = 0
    for x, y in batches:
        with torch.set_grad_enabled(optimizer is not None):
            logits = net(x)
            loss = nn.functional.cross_entropy(logits, y)
        if optimizer is not None:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        total += loss.item() * len(x)
        right += (logits.argmax(1) == y).sum().item()
        count += len(x)
    return total / count, right / count


def main():
    torch.manual_seed(5)
    training, validation, test = loaders()
    net = nn.Sequential(nn.Linear(13, 24), nn.ReLU(), nn.Dropout(0.1), nn.Linear(24, 3))
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    for epoch in range(15):
        loss, _ = make_pass(net, training, optimizer)
        valid_loss, valid = make_pass(net, validation, optimizer)  # fault: the validation pass is given the optimiser
        print(f"epoch {epoch:2d}  loss {loss:.3f}  validation {valid_loss:.3f}  accuracy {valid:.3f}")
    print("test: loss {:.3f}, accuracy {:.3f}".format(*make_pass(net, test)))


main()
