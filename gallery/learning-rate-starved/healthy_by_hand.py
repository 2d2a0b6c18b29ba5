"""Digits with an MLP and a step decay that a function of the script's own sets."""
import math
import torch
import torch.nn as nn
from torch.utils.data import DataLoader, TensorDataset
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def adjust_learning_rate(optimizer, epoch, args):
    """Decay the learning rate step-wise"""
    lr = args['lr'] * (0.5 ** (epoch // args['every']))
    for group in optimizer.param_groups:
        group['lr'] = lr
    return lr


def train(loader, model, criterion, optimizer, epoch, args):
    model.train()
    total, correct, count = 0, 0, 0
    lr = adjust_learning_rate(optimizer, epoch, args)
    for i, (images, target) in enumerate(loader):
        output = model(images)
        loss = criterion(output, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * images.size(0)
        correct += (output.argmax(1) == target).sum().item()
        count += images.size(0)
    print('Epoch: [%d] lr %.2e loss %.4f acc %.2f' % (epoch, lr, total / count, 100. * correct / count))


def validate(loader, model, criterion):
    model.eval()
    total, correct, count = 0, 0, 0
    with torch.no_grad():
        for images, target in loader:
            output = model(images)
            total += criterion(output, target).item() * images.size(0)
            correct += (output.argmax(1) == target).sum().item()
            count += images.size(0)
    print(' * loss %.4f acc %.2f' % (total / count, 100. * correct / count))
    return correct / count


def main():
    args = {'lr': 0.05, 'every': 4, 'epochs': 16, 'batch': 64, 'seed': 0}
    torch.manual_seed(args['seed'])
    d = load_digits()
    xa, xb, ya, yb = train_test_split(d.data / 16, d.target, test_size=0.3, random_state=args['seed'])
    mk = lambda x, y, s: DataLoader(TensorDataset(torch.tensor(x).float(), torch.tensor(y)), args['batch'], shuffle=s)
    tl, vl = mk(xa, ya, True), mk(xb, yb, False)
    model = nn.Sequential(nn.Linear(64, 100), nn.ReLU(inplace=True), nn.Linear(100, 50), nn.ReLU(inplace=True), nn.Linear(50, 10))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), args['lr'], momentum=0.9)
    best = 0
    for epoch in range(args['epochs']):
        train(tl, model, criterion, optimizer, epoch, args)
        best = max(best, validate(vl, model, criterion))
    print('best', best)


if __name__ == '__main__':
    main()
