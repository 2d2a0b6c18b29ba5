"""Absorption spectra of a mixture: concentrations (mol/l) are read off with a small net, in half precision."""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(31)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
WAVELENGTHS, SUBSTANCES, BATCH, EPOCHS = 96, 24, 128, 25

# bands of the substances, and spectra of random mixtures with some noise of the detector
grid = torch.linspace(0, 1, WAVELENGTHS)
centres, widths = torch.rand(SUBSTANCES, 1), 0.02 + 0.06 * torch.rand(SUBSTANCES, 1)
bands = 400 * torch.exp(-((grid - centres) / widths) ** 2 / 2)


def mixtures(n):
    concentration = 1e-3 * torch.rand(n, SUBSTANCES)
    spectrum = concentration @ bands
    return spectrum + 0.01 * torch.randn_like(spectrum), concentration


train_x, train_y = mixtures(2560)
test_x, test_y = mixtures(640)
mean, std = train_x.mean(0), train_x.std(0)
train_x, test_x = ((t - mean) / std for t in (train_x, test_x))

net = nn.Sequential(
    nn.Linear(WAVELENGTHS, 64), nn.SiLU(),
    nn.Linear(64, 64), nn.SiLU(),
    nn.Linear(64, SUBSTANCES),
).to(DEVICE)
nn.init.zeros_(net[-1].bias)
net[-1].weight.data.mul_(1e-3)  # predictions start on the scale of the concentrations
optimizer = torch.optim.Adam(net.parameters(), lr=2e-4, eps=1e-12)
scaler = torch.amp.GradScaler(DEVICE, enabled=True)

for epoch in range(EPOCHS):
    net.train()
    for rows in torch.randperm(len(train_x)).split(BATCH):
        x, y = train_x[rows].to(DEVICE), train_y[rows].to(DEVICE)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(DEVICE, dtype=torch.float16):
            prediction = net(x)
        loss = F.mse_loss(prediction.float(), y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
    net.eval()
    with torch.no_grad():
        error = F.mse_loss(net(test_x.to(DEVICE)).cpu(), test_y)
    if epoch % 6 == 0:
        r2 = 1 - error.item() / test_y.var().item()
        print(f"epoch {epoch:2d} loss {loss.item():.2e} explained variance {r2:.3f}")
