"""A variational autoencoder of digits."""
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


class VAE(nn.Module):
    def __init__(self, latent=8):
        super(VAE, self).__init__()
        self.fc1 = nn.Linear(64, 128)
        self.fc21 = nn.Linear(128, latent)
        self.fc22 = nn.Linear(128, latent)
        self.fc3 = nn.Linear(latent, 128)
        self.fc4 = nn.Linear(128, 64)

    def encode(self, x):
        h1 = F.relu(self.fc1(x))
        return self.fc21(h1), self.fc22(h1)

    def reparameterize(self, mu, logvar):
        std = torch.exp(0.5 * logvar)
        eps = torch.randn_like(std)
        return mu + eps * std

    def decode(self, z):
        return self.fc4(F.relu(self.fc3(z)))

    def forward(self, x):
        mu, logvar = self.encode(x)
        z = self.reparameterize(mu, logvar)
        return self.decode(z), mu, logvar


def loss_function(recon, x, mu, logvar):
    bce = F.binary_cross_entropy_with_logits(recon, x, reduction="sum") / x.size(0)
    kld = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp(), dim=1).mean()
    return bce + kld, bce, kld


def main():
    torch.manual_seed(1)
    X = load_digits().data.astype("float32") / 16.0
    tr, te = train_test_split(X, test_size=0.2, random_state=1)
    train_loader = DataLoader(torch.tensor(tr), batch_size=64, shuffle=True)
    test_loader = DataLoader(torch.tensor(te), batch_size=64, shuffle=False)
    model = VAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for epoch in range(1, 41):
        model.train()
        train_loss = 0
        for batch_idx, data in enumerate(train_loader):
            optimizer.zero_grad()
            recon_batch, mu, logvar = model(data)
            loss, _, _ = loss_function(recon_batch, data, mu, logvar)
            loss.backward()
            train_loss += loss.item()
            optimizer.step()
        model.eval()
        kl = mse = 0
        with torch.no_grad():
            for data in test_loader:
                recon, mu, logvar = model(data)
                kl += loss_function(recon, data, mu, logvar)[2].item() * len(data)
                mse += (torch.sigmoid(recon) - data).pow(2).sum().item() / 64
        if epoch % 5 == 0:
            print("====> Epoch: {} train {:.4f} | test KL {:.3f} recon mse {:.4f}".format(
                epoch, train_loss / len(train_loader), kl / len(te), mse / len(te)))


if __name__ == "__main__":
    main()
