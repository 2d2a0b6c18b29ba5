"""Residual CNN on digits; the last norm of every residual branch starts at zero, so blocks begin as identities."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedShuffleSplit
from torch.utils.data import DataLoader, TensorDataset


def conv3x3(in_planes, out_planes):
    return nn.Conv2d(in_planes, out_planes, kernel_size=3, padding=1, bias=False)


class BasicBlock(nn.Module):
    def __init__(self, planes):
        super().__init__()
        self.conv1 = conv3x3(planes, planes)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = conv3x3(planes, planes)
        self.bn2 = nn.BatchNorm2d(planes)

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + x)


class ResNet(nn.Module):
    def __init__(self, planes=10, blocks=2, num_classes=10, zero_init_residual=True):
        super().__init__()
        self.conv1 = conv3x3(1, planes)
        self.bn1 = nn.BatchNorm2d(planes)
        self.maxpool = nn.MaxPool2d(2)
        self.layer1 = nn.Sequential(*[BasicBlock(planes) for _ in range(blocks)])
        self.avgpool = nn.AdaptiveAvgPool2d((2, 2))
        self.fc = nn.Linear(planes * 4, num_classes)

        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(m, nn.BatchNorm2d):
                nn.init.constant_(m.weight, 1)
                nn.init.constant_(m.bias, 0)
        if zero_init_residual:
            for m in self.modules():
                if isinstance(m, BasicBlock):
                    nn.init.constant_(m.bn2.weight, 0)

    def forward(self, x):
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        x = self.avgpool(self.layer1(x))
        return self.fc(torch.flatten(x, 1))


def loaders():
    data = load_digits()
    tr, te = next(StratifiedShuffleSplit(1, test_size=0.2, random_state=5).split(data.data, data.target))
    images = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1)
    images = (images - images[tr].mean()) / images[tr].std()
    labels = torch.tensor(data.target)
    train = DataLoader(TensorDataset(images[tr], labels[tr]), batch_size=64, shuffle=True)
    test = DataLoader(TensorDataset(images[te], labels[te]), batch_size=256)
    return train, test


torch.manual_seed(5)
train_loader, test_loader = loaders()
model = ResNet()
decay, rest = [], []
for name, p in model.named_parameters():
    (decay if p.ndim > 1 else rest).append(p)
optimizer = torch.optim.SGD(
    [{"params": decay, "weight_decay": 1e-4}, {"params": rest, "weight_decay": 0.0}], lr=0.05, momentum=0.9)

for epoch in range(6):
    model.train()
    loss_sum = 0.0
    for images, labels in train_loader:
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss_sum += loss.item() * len(labels)
    model.eval()
    with torch.no_grad():
        hits = sum((model(images).argmax(1) == labels).sum().item() for images, labels in test_loader)
    branch = [round(b.bn2.weight.abs().mean().item(), 3) for b in model.layer1]
    print(f"epoch {epoch}: loss {loss_sum / len(train_loader.dataset):.4f}, accuracy {hits / len(test_loader.dataset):.4f}, branch scale {branch}")
print("trained")
