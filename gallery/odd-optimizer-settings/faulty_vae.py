"""Generate points on two moons: a small variational autoencoder trained with Adam."""

import torch
from sklearn.datasets import make_moons
from torch import nn

torch.manual_seed(0)
points = torch.tensor(make_moons(2000, noise=0.06, random_state=0)[0], dtype=torch.float32)
points = (points - points.mean(0)) / points.std(0)


class MoonVAE(nn.Module):
    def __init__(self, latent=2, hidden=48):
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(2, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
        self.mean, self.log_variance = nn.Linear(hidden, latent), nn.Linear(hidden, latent)
        self.decode = nn.Sequential(
            nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 2)
        )

    def forward(self, x):
        hidden = self.encode(x)
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        return self.decode(z), mean, log_variance


vae = MoonVAE()
optimizer = torch.optim.Adam(vae.parameters(), lr=2e-3, betas=(0.999, 0.9))  # fault: the betas are swapped
for step in range(600):
    x = points[torch.randint(len(points), (128,))]
    out, mean, log_variance = vae(x)
    reconstruction = ((out - x) ** 2).sum(1).mean() / 0.05
    divergence = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(1).mean()
    loss = reconstruction + divergence
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 100 == 99:
        print(f"step {step + 1}: reconstruction {reconstruction.item():.3f}, divergence {divergence.item():.3f}")
