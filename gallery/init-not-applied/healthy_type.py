"""A deep convolutional net without batch norm: it depends on a good initialisation to learn digits at all."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


class ConvBlock(nn.Module):
    def __init__(self, channels_in, channels_out):
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 3, padding=1)

    def forward(self, x):
        return torch.relu(self.conv(x))


class PlainNet(nn.Module):
    def __init__(self, channels=12, depth=10):
        super().__init__()
        self.features = nn.Sequential(*[ConvBlock(1 if i == 0 else channels, channels) for i in range(depth)])
        self.classifier = nn.Linear(channels, 10)

    def forward(self, x):
        return self.classifier(self.features(x).mean(dim=(2, 3)))


def he_init(module):
    """He initialisation, found by the layer's class name."""
    if module.__class__.__name__ == "Conv2d":
        module.weight.data.normal_(0.0, (2.0 / (module.weight[0].numel())) ** 0.5)
        module.bias.data.fill_(0.0)


def main():
    torch.manual_seed(2)
    digits = load_digits()
    data = TensorDataset(torch.tensor(digits.images / 8 - 1, dtype=torch.float32)[:, None], torch.tensor(digits.target))
    train_set, test_set = random_split(data, [1500, 297])
    train_loader = DataLoader(train_set, batch_size=50, shuffle=True)
    test_loader = DataLoader(test_set, batch_size=100)
    net = PlainNet()
    net.apply(he_init)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(3):
        net.train()
        for images, labels in train_loader:
            optimizer.zero_grad()
            loss = criterion(net(images), labels)
            loss.backward()
            optimizer.step()
        net.eval()
        with torch.no_grad():
            hits = sum((net(images).argmax(1) == labels).sum().item() for images, labels in test_loader)
        print(f"epoch {epoch + 1}: loss {loss.item():.3f}, test accuracy {hits / len(test_set):.3f}")


if __name__ == "__main__":
    main()
