"""Train a denoising autoencoder on small pictures of handwritten digits."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, random_split


class DenoisingAutoencoder(nn.Module):
    def __init__(self, bottleneck=24, noise=0.2):
        super().__init__()
        self.noise = noise
        self.encoder = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, bottleneck))
        self.decoder = nn.Sequential(nn.ReLU(), nn.Linear(bottleneck, 96), nn.ReLU(), nn.Linear(96, 64))

    def forward(self, clean):
        seen = clean + self.noise * torch.randn_like(clean) if self.training else clean
        return self.decoder(self.encoder(seen))


def reconstruction_error(model, loader, criterion):
    model.eval()
    with torch.no_grad():
        errors = [(criterion(model(x), x).item(), len(x)) for x in loader]
    model.train()
    return sum(e * n for e, n in errors) / sum(n for _, n in errors)


def main():
    torch.manual_seed(91)
    pictures = torch.tensor(load_digits().data, dtype=torch.float32)
    train_set, val_set = random_split(pictures, [1500, 297])
    mean, std = pictures[train_set.indices].mean(), pictures[train_set.indices].std()

    def standardise(batch):
        return (torch.stack(batch) - mean) / std

    train_loader = DataLoader(train_set, batch_size=50, shuffle=True, collate_fn=standardise)
    val_loader = DataLoader(val_set, batch_size=99, collate_fn=standardise)

    model = DenoisingAutoencoder()
    criterion = nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.5)  # fault: learning rate far too high

    for epoch in range(1, 13):
        total = 0.0
        for x in train_loader:
            loss = criterion(model(x), x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(x)
        error = reconstruction_error(model, val_loader, criterion)
        print(f"epoch {epoch:2d}: train {total / len(train_set):.4f}, val {error:.4f}")
    print(f"final val reconstruction error {error:.4f} (1.0 is the variance of the pixels)")


if __name__ == "__main__":
    main()
