"""Train a small variational autoencoder on the digits images."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader


class VAE(nn.Module):
    def __init__(self, latent=8):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 12, 3, stride=2, padding=1),  # 8x8 -> 4x4
            nn.ELU(),
            nn.Flatten(),
            nn.Linear(12 * 16, 64),
            nn.ELU(),
        )
        self.mean = nn.Linear(64, latent)
        self.log_var = nn.Linear(64, latent)
        self.decoder = nn.Sequential(
            nn.Linear(latent, 64),
            nn.ELU(),
            nn.Linear(64, 64),
            nn.Unflatten(1, (1, 8, 8)),
        )

    def forward(self, x):
        h = self.encoder(x)
        mean, log_var = self.mean(h), self.log_var(h)
        z = mean
        if self.training:
            z = mean + torch.randn_like(mean) * torch.exp(0.5 * log_var)
        return self.decoder(z), mean, log_var


def vae_loss(output, x, beta=0.02):
    reconstruction, mean, log_var = output
    kl = -0.5 * (1 + log_var - mean.pow(2) - log_var.exp()).sum(dim=1).mean()
    return F.mse_loss(reconstruction, x) + beta * kl


def run_epoch(model, loader, optimizer):
    model.train()
    total_loss = 0.0
    for x in loader:
        optimizer.zero_grad()
        loss = vae_loss(model(x), x)
        loss.backward()
        optimizer.step()
        total_loss += loss  # fault: keeps every graph alive
    return total_loss / len(loader)


@torch.no_grad()
def run_validation(model, loader):
    model.eval()
    squared_error = 0.0
    for x in loader:
        reconstruction, _, _ = model(x)
        squared_error += F.mse_loss(reconstruction, x, reduction="sum").item()
    return squared_error / (len(loader.dataset) * 64)


def main():
    torch.manual_seed(123)
    images = torch.tensor(load_digits().images, dtype=torch.float32).unsqueeze(1)
    train, val = images[torch.randperm(len(images))].split([1440, 357])
    mean, std = train.mean(), train.std()
    train_loader = DataLoader((train - mean) / std, batch_size=40, shuffle=True)
    val_loader = DataLoader((val - mean) / std, batch_size=119)
    model = VAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    for epoch in range(1, 9):
        train_loss = run_epoch(model, train_loader, optimizer)
        val_mse = run_validation(model, val_loader)
        print(f"epoch {epoch:2d} | train loss {train_loss:.4f} | val reconstruction mse {val_mse:.4f}")
    print(f"final reconstruction mse {val_mse:.4f}")


if __name__ == "__main__":
    main()
