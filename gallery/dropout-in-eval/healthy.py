"""Train a dropout-regularised network to read handwritten digits."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, TensorDataset

EPOCHS = 10
BATCH = 32


class Net(nn.Module):
    def __init__(self):
        super(Net, self).__init__()
        self.fc1 = nn.Linear(64, 64)
        self.fc2 = nn.Linear(64, 64)
        self.fc3 = nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(self.fc1(x))
        x = F.dropout(x, 0.5, training=self.training)
        x = F.relu(self.fc2(x))
        return self.fc3(x)


def train(model, train_loader, optimizer):
    model.train()
    for data, target in train_loader:
        optimizer.zero_grad()
        output = model(data)
        loss = F.cross_entropy(output, target)
        loss.backward()
        optimizer.step()


def test(model, test_loader):
    model.eval()
    test_loss = 0
    correct = 0
    with torch.no_grad():
        for data, target in test_loader:
            output = model(data)
            test_loss += F.cross_entropy(output, target, reduction='sum').item()
            pred = output.argmax(dim=1, keepdim=True)
            correct += pred.eq(target.view_as(pred)).sum().item()
    test_loss /= len(test_loader.dataset)
    print('Test set: Average loss: {:.4f}, Accuracy: {}/{} ({:.1f}%)'.format(
        test_loss, correct, len(test_loader.dataset), 100. * correct / len(test_loader.dataset)))
    return test_loss, correct / len(test_loader.dataset)


def main():
    torch.manual_seed(10)
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.2, random_state=10, stratify=y)
    mean, std = X_train.mean(), X_train.std()
    X_train = torch.tensor((X_train - mean) / std, dtype=torch.float32)
    X_test = torch.tensor((X_test - mean) / std, dtype=torch.float32)
    train_loader = DataLoader(TensorDataset(X_train, torch.tensor(y_train)), batch_size=BATCH, shuffle=True)
    test_loader = DataLoader(TensorDataset(X_test, torch.tensor(y_test)), batch_size=BATCH)

    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    for epoch in range(1, EPOCHS + 1):
        print('Epoch {:2d}'.format(epoch), end='  ')
        train(model, train_loader, optimizer)
        loss, accuracy = test(model, test_loader)
    print('Final test loss {:.4f}, accuracy {:.4f}'.format(loss, accuracy))


if __name__ == '__main__':
    main()
