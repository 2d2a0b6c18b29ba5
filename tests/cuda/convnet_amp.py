"""Digits on a GPU: a convolutional net in half precision with a gradient scaler, clipped after unscaling."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
        )
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        return self.head(self.drop(self.features(x).flatten(1)))


def main():
    torch.manual_seed(0)
    torch.backends.cudnn.deterministic = True
    device = torch.device("cuda")
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    data = TensorDataset((x - x.mean()) / x.std(), torch.tensor(digits.target))
    train, test = random_split(data, [1400, 397])
    train_loader = DataLoader(train, batch_size=64, shuffle=True, pin_memory=True)
    test_loader = DataLoader(test, batch_size=128)
    net = Net().to(device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3)
    scaler = torch.amp.GradScaler("cuda")
    criterion = nn.CrossEntropyLoss()
    for epoch in range(6):
        net.train()
        for images, labels in train_loader:
            images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cuda", dtype=torch.float16):
                loss = criterion(net(images), labels)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
        net.eval()
        right = 0
        with torch.no_grad():
            for images, labels in test_loader:
                right += (net(images.to(device)).argmax(1) == labels.to(device)).sum().item()
        print(f"epoch {epoch}: loss {loss.item():.4f}, accuracy {right / len(test):.4f}")


if __name__ == "__main__":
    main()
