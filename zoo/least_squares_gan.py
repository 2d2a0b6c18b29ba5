"""LSGAN on 8x8 digits of class 0/1, DCGAN style"""
import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(999)
nz, ngf, ndf, lr, beta1 = 16, 32, 16, 1e-3, 0.5
d = load_digits()
imgs = torch.tensor(d.images[(d.target < 2)], dtype=torch.float32).unsqueeze(1) / 8 - 1
dataloader = DataLoader(TensorDataset(imgs), batch_size=32, shuffle=True, drop_last=True)

def weights_init(m):
    name = m.__class__.__name__
    if name.find('Conv') != -1:
        nn.init.normal_(m.weight.data, 0.0, 0.05)
    elif name.find('BatchNorm') != -1:
        nn.init.normal_(m.weight.data, 1.0, 0.02)
        nn.init.constant_(m.bias.data, 0)

netG = nn.Sequential(
    nn.ConvTranspose2d(nz, ngf * 2, 2, 1, 0, bias=False), nn.BatchNorm2d(ngf * 2), nn.ReLU(True),
    nn.ConvTranspose2d(ngf * 2, ngf, 4, 2, 1, bias=False), nn.BatchNorm2d(ngf), nn.ReLU(True),
    nn.ConvTranspose2d(ngf, 1, 4, 2, 1, bias=False), nn.Tanh())
netD = nn.Sequential(
    nn.Conv2d(1, ndf, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True),
    nn.Conv2d(ndf, ndf * 2, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True),
    nn.Conv2d(ndf * 2, 1, 2, 1, 0), nn.Flatten())
netG.apply(weights_init); netD.apply(weights_init)
criterion = nn.MSELoss()
fixed_noise = torch.randn(64, nz, 1, 1)
optimizerD = torch.optim.Adam(netD.parameters(), lr=lr, betas=(beta1, 0.999))
optimizerG = torch.optim.Adam(netG.parameters(), lr=lr, betas=(beta1, 0.999))

for epoch in range(40):
    sd = sg = 0
    for i, (data,) in enumerate(dataloader):
        b = data.size(0)
        # (1) D
        netD.zero_grad()
        errD_real = criterion(netD(data), torch.ones(b, 1)); errD_real.backward()
        fake = netG(torch.randn(b, nz, 1, 1))
        errD_fake = criterion(netD(fake.detach()), torch.zeros(b, 1)); errD_fake.backward()
        optimizerD.step()
        # (2) G
        netG.zero_grad()
        errG = criterion(netD(fake), torch.ones(b, 1))
        errG.backward()
        optimizerG.step()
        sd += (errD_real + errD_fake).item(); sg += errG.item()
    if epoch % 10 == 9:
        with torch.no_grad():
            f = netG(fixed_noise)
            nn_dist = torch.cdist(f.flatten(1), imgs.flatten(1)).min(1).values.mean()
        print(f'[{epoch+1}] Loss_D {sd/len(dataloader):.3f} Loss_G {sg/len(dataloader):.3f} nn-dist {nn_dist:.3f} var {f.var(0).mean():.3f}')
