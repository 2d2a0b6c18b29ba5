"""A GAN that learns a two-dimensional banana (two optimisers, non-saturating loss)."""
import torch
from torch import nn
from torch.utils.data import DataLoader

torch.manual_seed(2)
Z = 4


def banana(n):
    a = torch.randn(n)
    b = 0.5 * a ** 2 + 0.3 * torch.randn(n)
    return torch.stack([a, b], 1)


def mlp(n_in, n_out, act):
    return nn.Sequential(nn.Linear(n_in, 64), act, nn.Linear(64, 64), act, nn.Linear(64, n_out))


@torch.no_grad()
def energy_distance(G, real):
    G.eval()
    fake = G(torch.randn(len(real), Z))
    G.train()
    return (2 * torch.cdist(real, fake).mean() - torch.cdist(real, real).mean() - torch.cdist(fake, fake).mean()).item()


points = banana(5120)
points = (points - points.mean(0)) / points.std(0)
real_val = points[:1024]
loader = DataLoader(points[1024:], batch_size=128, shuffle=True, drop_last=True)
G = mlp(Z, 2, nn.ReLU())
D = mlp(2, 1, nn.LeakyReLU(0.2))
optG = torch.optim.Adam(G.parameters(), lr=5e-4, betas=(0.5, 0.999))
optD = torch.optim.Adam(D.parameters(), lr=2e-3, betas=(0.5, 0.999))
bce = nn.BCEWithLogitsLoss()
print(f"untrained: energy distance {energy_distance(G, real_val):.4f}")

for epoch in range(11):
    sum_d = sum_g = 0.0
    for real in loader:
        n = real.size(0)
        ones, zeros = torch.ones(n, 1), torch.zeros(n, 1)

        # discriminator
        fake = G(torch.randn(n, Z))
        optD.zero_grad()
        loss_d = bce(D(real), ones) + bce(D(fake.detach()), zeros)
        loss_d.backward()
        optD.step()

        # generator
        optG.zero_grad()
        loss_g = bce(D(fake), ones)
        loss_g.backward()
        optG.step()

        sum_d += loss_d.item()
        sum_g += loss_g.item()
    print(f"epoch {epoch:2d} loss_D {sum_d / len(loader):.3f} loss_G {sum_g / len(loader):.3f} "
          f"energy distance {energy_distance(G, real_val):.4f}")

print(f"final energy distance {energy_distance(G, real_val):.4f}")
