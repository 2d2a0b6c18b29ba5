"""Segment cells in simulated microscope pictures: a small encoder and decoder with one channel of logits."""

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Cells(Dataset):
    """Bright elliptic cells on an uneven, noisy ground, with their masks."""

    def __init__(self, n, seed, size=32):
        g = torch.Generator().manual_seed(seed)
        axis = torch.linspace(-1, 1, size)
        v, u = torch.meshgrid(axis, axis, indexing="ij")
        self.items = []
        for _ in range(n):
            mask = torch.zeros(size, size, dtype=torch.bool)
            for _ in range(int(torch.randint(2, 5, (), generator=g))):
                cx, cy = (torch.rand(2, generator=g) * 1.6 - 0.8).tolist()
                a, b = (torch.rand(2, generator=g) * 0.25 + 0.25).tolist()
                mask |= ((u - cx) / a) ** 2 + ((v - cy) / b) ** 2 < 1
            slope = torch.randn(2, generator=g) * 0.2
            picture = mask * 0.8 + slope[0] * u + slope[1] * v + 0.35 * torch.randn(size, size, generator=g)
            self.items.append(((picture - 0.25) / 0.6, mask.long()))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        picture, mask = self.items[i]
        return picture[None], mask


class TinyUNet(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.ReLU())
        self.bottom = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(width, 2 * width, 3, padding=1), nn.ReLU())
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.out = nn.Conv2d(2 * width, 1, 1)

    def forward(self, x):
        fine = self.down(x)
        coarse = self.up(self.bottom(fine))
        return self.out(torch.cat([fine, torch.relu(coarse)], dim=1))


@torch.no_grad()
def pixel_accuracy(net, loader):
    net.eval()
    correct = pixels = 0
    for pictures, masks in loader:
        logits = net(pictures)
        predicted = logits.argmax(dim=1)  # fault: there is one channel only, so this is background everywhere
        correct += (predicted == masks).sum().item()
        pixels += masks.numel()
    return correct / pixels


def main():
    torch.manual_seed(41)
    train_loader = DataLoader(Cells(240, seed=1), batch_size=16, shuffle=True)
    val_loader = DataLoader(Cells(60, seed=2), batch_size=20)
    net = TinyUNet()
    criterion = nn.BCEWithLogitsLoss()
    optimizer = torch.optim.RMSprop(net.parameters(), lr=2e-3)
    for epoch in range(3):
        net.train()
        running = 0.0
        for pictures, masks in train_loader:
            optimizer.zero_grad()
            loss = criterion(net(pictures).squeeze(1), masks.float())
            loss.backward()
            optimizer.step()
            running += loss.item()
        print(f"epoch {epoch}: loss {running / len(train_loader):.4f}, pixel accuracy {pixel_accuracy(net, val_loader):.4f}")


if __name__ == "__main__":
    main()
