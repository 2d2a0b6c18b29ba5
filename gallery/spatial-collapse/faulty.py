"""A convolutional network with the layout of nets for large photographs, trained on digits of 8×8 pixels."""
import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, TensorDataset

STRIDES = (2, 2, 2, 1)  # fault: meant for images of 224 pixels; here the map is one pixel from the second stage on


def stage(channels_in, channels_out, stride):
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


class SmallNet(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, 12, 5, stride=STRIDES[0], padding=2, bias=False), nn.BatchNorm2d(12), nn.ReLU(inplace=True)
        )
        self.stages = nn.Sequential(
            stage(12, 12, stride=STRIDES[1]), stage(12, 24, stride=STRIDES[2]), stage(24, 48, stride=STRIDES[3])
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(48, num_classes)

    def forward(self, x):
        return self.fc(self.pool(self.stages(self.stem(x))).flatten(1))


def accuracy(net, loader):
    net.eval()
    with torch.no_grad():
        hits = torch.cat([net(x).argmax(1) == y for x, y in loader])
    return hits.float().mean().item()


torch.manual_seed(9)
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1).sub(4.9).div(6.0)
x_train, x_test, y_train, y_test = train_test_split(
    images, torch.tensor(digits.target), test_size=400, stratify=digits.target, random_state=9
)
train_loader = DataLoader(TensorDataset(x_train, y_train), batch_size=64, shuffle=True)
test_loader = DataLoader(TensorDataset(x_test, y_test), batch_size=200)
net = SmallNet()
optimizer = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-4)
criterion = nn.CrossEntropyLoss()
for epoch in range(4):
    net.train()
    for x, y in train_loader:
        loss = criterion(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch}: loss {loss.item():.3f}, test accuracy {accuracy(net, test_loader):.3f}")
