"""Digits with label smoothing and mixup."""
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def mixup_data(x, y, alpha, rng):
    '''Returns mixed inputs, pairs of targets, and lambda'''
    lam = rng.beta(alpha, alpha)
    index = torch.randperm(x.size(0))
    mixed_x = lam * x + (1 - lam) * x[index, :]
    return mixed_x, y, y[index], lam


def mixup_criterion(criterion, pred, y_a, y_b, lam):
    return lam * criterion(pred, y_a) + (1 - lam) * criterion(pred, y_b)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(64, 128)
        self.fc2 = nn.Linear(128, 64)
        self.fc3 = nn.Linear(64, 10)
        self.act = nn.Mish()

    def forward(self, x):
        return self.fc3(self.act(self.fc2(self.act(self.fc1(x)))))


if __name__ == '__main__':
    seed = 33
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.2, random_state=seed, stratify=y)
    mean, std = X_train.mean(), X_train.std()
    train_set = TensorDataset(torch.FloatTensor((X_train - mean) / std), torch.LongTensor(y_train))
    test_set = TensorDataset(torch.FloatTensor((X_test - mean) / std), torch.LongTensor(y_test))
    trainloader = DataLoader(train_set, batch_size=64, shuffle=True)
    testloader = DataLoader(test_set, batch_size=100)

    net = Net()
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    plain = nn.CrossEntropyLoss(reduction='sum')
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)

    for epoch in range(10):
        net.train()
        train_loss, total = 0, 0
        for inputs, targets in trainloader:
            inputs, targets_a, targets_b, lam = mixup_data(inputs, targets, 0.4, rng)
            outputs = net(inputs)
            loss = mixup_criterion(criterion, outputs, targets_a, targets_b, lam)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            train_loss += loss.item() * inputs.size(0)
            total += inputs.size(0)

        net.eval()
        test_loss, correct = 0, 0
        with torch.no_grad():
            for inputs, targets in testloader:
                outputs = net(inputs)
                test_loss += plain(outputs, targets).item()
                correct += outputs.max(1)[1].eq(targets).sum().item()
        print('Epoch: %d | Loss: %.3f | Test loss: %.3f | Acc: %.3f%% (%d/%d)' % (
            epoch, train_loss / total, test_loss / len(test_set), 100. * correct / len(test_set), correct, len(test_set)))
    print('Best is not tracked; last accuracy %.2f%%' % (100. * correct / len(test_set)))
