"""A GAN on a ring of eight Gaussians. Everything, the real samples too, is drawn on the GPU."""

import math

import torch
import torch.nn as nn

device = "cuda"
batch_size = 256
latent_dim = 16
n_steps = 1500

torch.manual_seed(5)


def sample_ring(n):
    angle = torch.randint(0, 8, (n,), device=device) * (math.pi / 4)
    centres = torch.stack([angle.cos(), angle.sin()], dim=1)
    return centres + 0.05 * torch.randn(n, 2, device=device)


def mlp(n_in, n_out):
    return nn.Sequential(nn.Linear(n_in, 128), nn.LeakyReLU(0.2), nn.Linear(128, 128), nn.LeakyReLU(0.2), nn.Linear(128, n_out))


netG = mlp(latent_dim, 2).to(device)
netD = mlp(2, 1).to(device)
criterion = nn.BCEWithLogitsLoss()
optimizerG = torch.optim.Adam(netG.parameters(), lr=5e-4, betas=(0.5, 0.999))
optimizerD = torch.optim.Adam(netD.parameters(), lr=5e-4, betas=(0.5, 0.999))
real_label = torch.ones(batch_size, 1, device=device)
fake_label = torch.zeros(batch_size, 1, device=device)

for step in range(n_steps):
    # (1) the discriminator: real samples up, generated samples down
    netD.zero_grad()
    errD_real = criterion(netD(sample_ring(batch_size)), real_label)
    errD_real.backward()
    noise = torch.randn(batch_size, latent_dim, device=device)
    fake = netG(noise)
    errD_fake = criterion(netD(fake.detach()), fake_label)
    errD_fake.backward()
    optimizerD.step()

    # (2) the generator: to be taken for real
    netG.zero_grad()
    errG = criterion(netD(fake), real_label)
    errG.backward()
    optimizerG.step()

    if (step + 1) % 300 == 0:
        with torch.no_grad():
            points = netG(torch.randn(2000, latent_dim, device=device))
            angles = torch.atan2(points[:, 1], points[:, 0])
            modes = torch.round(angles / (math.pi / 4)).remainder(8).long()
            near = (points.norm(dim=1) - 1).abs() < 0.2
            covered = (torch.bincount(modes[near], minlength=8) > 50).sum().item()
        print(
            f"[{step + 1}/{n_steps}] Loss_D: {(errD_real + errD_fake).item():.4f} Loss_G: {errG.item():.4f} "
            f"on the ring: {near.float().mean().item():.2%} modes: {covered}/8"
        )
