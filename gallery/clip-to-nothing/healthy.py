"""Recognise handwritten digits with a two-layer convolutional network and plain momentum SGD."""

import torch
import torch.nn.functional as F
from sklearn import datasets, model_selection
from torch import nn, optim

MAX_GRAD_NORM = 5.0


class ConvNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 12, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(12, 24, kernel_size=3, padding=1)
        self.fc = nn.Linear(24 * 2 * 2, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc(torch.flatten(x, 1))


def get_data():
    digits = datasets.load_digits()
    split = model_selection.train_test_split(
        torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1),
        torch.tensor(digits.target),
        test_size=0.25,
        random_state=0,
    )
    train_x, test_x, train_y, test_y = split
    mean, std = train_x.mean(), train_x.std()
    return (train_x - mean) / std, train_y, (test_x - mean) / std, test_y


def train(model, optimizer, x, y, batch_size):
    model.train()
    loss_sum = 0.0
    permutation = torch.randperm(x.shape[0])
    for i in range(0, x.shape[0], batch_size):
        rows = permutation[i : i + batch_size]
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x[rows]), y[rows])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), MAX_GRAD_NORM)
        optimizer.step()
        loss_sum += loss.item() * rows.numel()
    return loss_sum / x.shape[0]


def test(model, x, y):
    model.eval()
    with torch.no_grad():
        logits = model(x)
        loss = F.cross_entropy(logits, y)
        accuracy = (logits.argmax(1) == y).float().mean()
    return loss.item(), accuracy.item()


def main():
    torch.manual_seed(0)
    train_x, train_y, test_x, test_y = get_data()
    model = ConvNet()
    optimizer = optim.SGD(model.parameters(), lr=0.03, momentum=0.9)
    for epoch in range(8):
        train_loss = train(model, optimizer, train_x, train_y, batch_size=40)
        test_loss, accuracy = test(model, test_x, test_y)
        print(f"epoch {epoch}: train loss {train_loss:.4f}  test loss {test_loss:.4f}  accuracy {100 * accuracy:.1f}%")
    print(f"final test accuracy: {100 * accuracy:.1f}%")


if __name__ == "__main__":
    main()
