"""A denoising autoencoder for digits on a GPU, batches from two worker processes, noise drawn on the GPU."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Digits(Dataset):
    def __init__(self):
        self.images = torch.tensor(load_digits().images, dtype=torch.float32).flatten(1) / 16

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.images[i]


def main():
    torch.manual_seed(3)
    device = "cuda"
    loader = DataLoader(Digits(), batch_size=64, shuffle=True, num_workers=2, pin_memory=True, drop_last=True)
    net = nn.Sequential(
        nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 16), nn.ReLU(), nn.Linear(16, 128), nn.ReLU(), nn.Linear(128, 64)
    ).to(device)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5)
    for epoch in range(5):
        total = torch.zeros((), device=device)
        for images in loader:
            images = images.to(device, non_blocking=True)
            restored = net(images + 0.1 * torch.randn_like(images))
            loss = nn.functional.mse_loss(restored, images)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach()
        schedule.step()
        print(f"epoch {epoch}: {total.item() / len(loader):.5f}")


if __name__ == "__main__":
    main()
