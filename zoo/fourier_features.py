"""Fit an image-like function of two coordinates from random Fourier features; weights are bare tensors, no Module."""
import torch
from torch import sin, cos, tanh

g = torch.Generator().manual_seed(58)


def target(xy):
    x, y = xy.unbind(1)
    return sin(5 * x) * cos(4 * y) + 0.5 * sin(9 * x * y)


def glorot(n_in, n_out):
    bound = (6.0 / (n_in + n_out)) ** 0.5
    w = (2 * torch.rand(n_in, n_out, generator=g) - 1) * bound
    return w.requires_grad_()


# a grid of "pixels", split at random
side = 48
lin = torch.linspace(-1, 1, side)
grid = torch.stack(torch.meshgrid(lin, lin, indexing="ij"), -1).reshape(-1, 2)
values = target(grid).unsqueeze(1)
perm = torch.randperm(side * side, generator=g)
train, valid = perm[:1800], perm[1800:]
mean, std = values[train].mean(), values[train].std()
values = (values - mean) / std

# fixed frequencies, trained network on top
B = 2.0 * torch.randn(2, 40, generator=g)
W1 = glorot(80, 64)
b1 = torch.zeros(64, requires_grad=True)
W2 = glorot(64, 64)
b2 = torch.zeros(64, requires_grad=True)
W3 = glorot(64, 1)
b3 = torch.zeros(1, requires_grad=True)
weights = [W1, b1, W2, b2, W3, b3]


def network(xy):
    proj = xy @ B
    h = torch.cat([sin(proj), cos(proj)], 1)
    h = tanh(h @ W1 + b1)
    h = tanh(h @ W2 + b2)
    return h @ W3 + b3


def psnr(mse):
    peak = (values.max() - values.min()).item()
    return 10 * torch.log10(torch.tensor(peak**2 / mse)).item()


optimizer = torch.optim.Adam(weights, lr=2e-3)
for epoch in range(25):
    total = 0.0
    for rows in train[torch.randperm(len(train), generator=g)].split(100):
        loss = ((network(grid[rows]) - values[rows]) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(rows)
    if epoch % 5 == 4:
        with torch.no_grad():
            valid_mse = ((network(grid[valid]) - values[valid]) ** 2).mean().item()
        print(f"epoch {epoch + 1}: train mse {total / len(train):.5f}, unseen pixels {valid_mse:.5f} ({psnr(valid_mse):.1f} dB)")

print(f"{psnr(valid_mse):.1f} dB on pixels that were never shown")
