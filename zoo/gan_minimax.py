"""GAN with the original minimax objective: one loss, which the discriminator lowers and the generator raises."""
import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)

generator = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
discriminator = nn.Sequential(nn.Linear(2, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))
steps_g = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.9))
steps_d = torch.optim.Adam(discriminator.parameters(), lr=2e-3, betas=(0.5, 0.9))
is_real = torch.cat([torch.ones(64, 1), torch.zeros(64, 1)])


def real_points(n):
    angle = 2 * torch.pi * torch.rand(n)
    return torch.stack([angle.cos(), angle.sin()], 1) + 0.05 * torch.randn(n, 2)


def value(real, fake):
    """Binary cross-entropy of the discriminator on real and made points."""
    return F.binary_cross_entropy_with_logits(discriminator(torch.cat([real, fake])), is_real)


for step in range(900):
    loss_d = value(real_points(64), generator(torch.randn(64, 4)).detach())
    steps_d.zero_grad()
    loss_d.backward()
    steps_d.step()

    loss_g = -value(real_points(64), generator(torch.randn(64, 4)))
    steps_g.zero_grad()
    loss_g.backward()
    steps_g.step()

with torch.no_grad():
    radius = generator(torch.randn(500, 4)).norm(dim=1)
print(f"discriminator {loss_d.item():.3f}, radius of made points {radius.mean().item():.3f} +- {radius.std().item():.3f}")
