"""Variational autoencoder on binarised 8x8 digits (Bernoulli likelihood, analytic KL)."""
import torch
import torch.utils.data
from torch import nn, optim
from torch.nn import functional as F
from sklearn.datasets import load_digits

torch.manual_seed(1)
batch_size = 32
epochs = 12

data = torch.tensor(load_digits().data > 7.5).float()   # black or white
data = data[torch.randperm(len(data))]
train_loader = torch.utils.data.DataLoader(data[:1500], batch_size=batch_size, shuffle=True)
test_loader = torch.utils.data.DataLoader(data[1500:], batch_size=batch_size, shuffle=False)


class VAE(nn.Module):
    def __init__(self):
        super(VAE, self).__init__()
        self.fc1 = nn.Linear(64, 96)
        self.fc21 = nn.Linear(96, 8)
        self.fc22 = nn.Linear(96, 8)
        self.fc3 = nn.Linear(8, 96)
        self.fc4 = nn.Linear(96, 64)

    def encode(self, x):
        h1 = F.relu(self.fc1(x))
        return self.fc21(h1), self.fc22(h1)

    def reparameterize(self, mu, logvar):
        std = torch.exp(0.5 * logvar)
        eps = torch.randn_like(std)
        return mu + eps * std

    def decode(self, z):
        h3 = F.relu(self.fc3(z))
        return torch.sigmoid(self.fc4(h3))

    def forward(self, x):
        mu, logvar = self.encode(x)
        z = self.reparameterize(mu, logvar)
        return self.decode(z), mu, logvar


model = VAE()
optimizer = optim.Adam(model.parameters(), lr=2e-3)


# Reconstruction + KL divergence losses summed over all elements and batch
def loss_function(recon_x, x, mu, logvar):
    BCE = F.binary_cross_entropy(recon_x, x, reduction='sum')
    # 0.5 * sum(1 + log(sigma^2) - mu^2 - sigma^2)
    KLD = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    return BCE + KLD, KLD


def train(epoch):
    model.train()
    train_loss = 0
    for batch_idx, x in enumerate(train_loader):
        optimizer.zero_grad()
        recon_batch, mu, logvar = model(x)
        loss, _ = loss_function(recon_batch, x, mu, logvar)
        loss = loss / len(x)
        loss.backward()
        train_loss += loss.item() * len(x)
        optimizer.step()
    print('====> Epoch: {} Average loss: {:.4f}'.format(epoch, train_loss / len(train_loader.dataset)))


def test(epoch):
    model.eval()
    test_loss = 0
    kl = 0
    with torch.no_grad():
        for x in test_loader:
            recon, mu, logvar = model(x)
            elbo, kld = loss_function(recon, x, mu, logvar)
            test_loss += elbo.item()
            kl += kld.item()
    test_loss /= len(test_loader.dataset)
    kl /= len(test_loader.dataset)
    print('====> Test set loss: {:.4f} (KL {:.3f})'.format(test_loss, kl))
    return test_loss


if __name__ == "__main__":
    for epoch in range(1, epochs + 1):
        train(epoch)
        final = test(epoch)
    with torch.no_grad():
        sample = model.decode(torch.randn(16, 8))
    print('negative ELBO %.3f, mean ink of samples %.3f vs data %.3f' % (final, sample.mean(), data.mean()))
