"""A small DCGAN on 8x8 digits: weights_init, a fixed noise to look at, one-sided label smoothing, alternating steps."""
import argparse
import random

import numpy as np
import torch
import torch.nn as nn
import torch.optim as optim
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

parser = argparse.ArgumentParser()
parser.add_argument("--nz", type=int, default=16)
parser.add_argument("--ngf", type=int, default=16)
parser.add_argument("--ndf", type=int, default=16)
parser.add_argument("--niter", type=int, default=5)
parser.add_argument("--batch-size", type=int, default=64)
parser.add_argument("--lr", type=float, default=1e-3)
parser.add_argument("--beta1", type=float, default=0.5)
parser.add_argument("--manual-seed", type=int, default=999)
opt = parser.parse_args()
random.seed(opt.manual_seed)
torch.manual_seed(opt.manual_seed)
np.random.seed(opt.manual_seed)


def weights_init(m):
    name = m.__class__.__name__
    if name.find("Conv") != -1:
        nn.init.normal_(m.weight, 0.0, 0.02)
    elif name.find("BatchNorm") != -1:
        nn.init.normal_(m.weight, 1.0, 0.02)
        nn.init.zeros_(m.bias)


class Generator(nn.Module):
    def __init__(self, nz, ngf):
        super().__init__()
        self.main = nn.Sequential(
            nn.ConvTranspose2d(nz, ngf * 2, 4, 1, 0, bias=False), nn.BatchNorm2d(ngf * 2), nn.ReLU(True),  # 4x4
            nn.ConvTranspose2d(ngf * 2, ngf, 4, 2, 1, bias=False), nn.BatchNorm2d(ngf), nn.ReLU(True),  # 8x8
            nn.Conv2d(ngf, 1, 3, 1, 1, bias=False), nn.Tanh(),
        )

    def forward(self, z):
        return self.main(z)


class Discriminator(nn.Module):
    def __init__(self, ndf):
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(1, ndf, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True),  # 4x4
            nn.Conv2d(ndf, ndf * 2, 4, 2, 1, bias=False), nn.BatchNorm2d(ndf * 2), nn.LeakyReLU(0.2, inplace=True),  # 2x2
            nn.Conv2d(ndf * 2, 1, 2, 1, 0, bias=False), nn.Sigmoid(),
        )

    def forward(self, x):
        return self.main(x).view(-1, 1).squeeze(1)


images = torch.tensor(load_digits().images, dtype=torch.float32).unsqueeze(1) / 8.0 - 1.0  # as tanh: in [-1, 1]
dataloader = DataLoader(TensorDataset(images), batch_size=opt.batch_size, shuffle=True, drop_last=True)

netG = Generator(opt.nz, opt.ngf)
netG.apply(weights_init)
netD = Discriminator(opt.ndf)
netD.apply(weights_init)
criterion = nn.BCELoss()
fixed_noise = torch.randn(64, opt.nz, 1, 1)
real_label, fake_label = 0.9, 0.0
optimizerD = optim.Adam(netD.parameters(), lr=opt.lr, betas=(opt.beta1, 0.999))
optimizerG = optim.Adam(netG.parameters(), lr=opt.lr, betas=(opt.beta1, 0.999))


def spectrum_gap(fake):
    """How far the pixels' mean and covariance lie from those of the real digits."""
    a, b = images.flatten(1), fake.flatten(1)
    return ((a.mean(0) - b.mean(0)).pow(2).sum() + (torch.cov(a.T) - torch.cov(b.T)).pow(2).sum()).sqrt().item()


with torch.no_grad():
    print(f"untrained: gap {spectrum_gap(netG(fixed_noise)):.3f}")
for epoch in range(opt.niter):
    for i, (real,) in enumerate(dataloader):
        # (1) maximize log(D(x)) + log(1 - D(G(z)))
        netD.zero_grad()
        label = torch.full((real.size(0),), real_label)
        output = netD(real)
        errD_real = criterion(output, label)
        errD_real.backward()
        D_x = output.mean().item()

        noise = torch.randn(real.size(0), opt.nz, 1, 1)
        fake = netG(noise)
        label.fill_(fake_label)
        output = netD(fake.detach())
        errD_fake = criterion(output, label)
        errD_fake.backward()
        D_G_z1 = output.mean().item()
        errD = errD_real + errD_fake
        optimizerD.step()

        # (2) maximize log(D(G(z)))
        netG.zero_grad()
        label.fill_(1.0)
        output = netD(fake)
        errG = criterion(output, label)
        errG.backward()
        D_G_z2 = output.mean().item()
        optimizerG.step()
    with torch.no_grad():
        shown = netG(fixed_noise)
    print(f"[{epoch}/{opt.niter}] Loss_D {errD.item():.4f} Loss_G {errG.item():.4f} D(x) {D_x:.3f} "
          f"D(G(z)) {D_G_z1:.3f}/{D_G_z2:.3f} gap {spectrum_gap(shown):.3f}")
