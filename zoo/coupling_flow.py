"""A flow of coupling layers learns two moons: masks are fixed parameters, each step draws fresh samples."""
import numpy as np
import torch
import torch.nn as nn
from sklearn import datasets
from torch import distributions


class RealNVP(nn.Module):
    def __init__(self, nets, nett, mask, prior):
        super(RealNVP, self).__init__()
        self.prior = prior
        self.mask = nn.Parameter(mask, requires_grad=False)
        self.t = torch.nn.ModuleList([nett() for _ in range(len(mask))])
        self.s = torch.nn.ModuleList([nets() for _ in range(len(mask))])

    def g(self, z):
        x = z
        for i in range(len(self.t)):
            x_ = x * self.mask[i]
            s = self.s[i](x_) * (1 - self.mask[i])
            t = self.t[i](x_) * (1 - self.mask[i])
            x = x_ + (1 - self.mask[i]) * (x * torch.exp(s) + t)
        return x

    def f(self, x):
        log_det_J, z = x.new_zeros(x.shape[0]), x
        for i in reversed(range(len(self.t))):
            z_ = self.mask[i] * z
            s = self.s[i](z_) * (1 - self.mask[i])
            t = self.t[i](z_) * (1 - self.mask[i])
            z = (1 - self.mask[i]) * (z - t) * torch.exp(-s) + z_
            log_det_J -= s.sum(dim=1)
        return z, log_det_J

    def log_prob(self, x):
        z, logp = self.f(x)
        return self.prior.log_prob(z) + logp

    def sample(self, batchSize):
        z = self.prior.sample((batchSize,))
        return self.g(z)


torch.manual_seed(0)
nets = lambda: nn.Sequential(nn.Linear(2, 64), nn.LeakyReLU(), nn.Linear(64, 64), nn.LeakyReLU(), nn.Linear(64, 2), nn.Tanh())
nett = lambda: nn.Sequential(nn.Linear(2, 64), nn.LeakyReLU(), nn.Linear(64, 64), nn.LeakyReLU(), nn.Linear(64, 2))
masks = torch.from_numpy(np.array([[0, 1], [1, 0]] * 3).astype(np.float32))
prior = distributions.MultivariateNormal(torch.zeros(2), torch.eye(2))
flow = RealNVP(nets, nett, masks, prior)

held_out = datasets.make_moons(n_samples=1000, noise=.05, random_state=77)[0].astype(np.float32) * 0.2
rs = np.random.RandomState(5)
optimizer = torch.optim.Adam([p for p in flow.parameters() if p.requires_grad == True], lr=1e-3)
sched = torch.optim.lr_scheduler.StepLR(optimizer, 800, 0.3)
with torch.no_grad():
    print('initial nll', -flow.log_prob(torch.from_numpy(held_out)).mean().item())
for t in range(401):
    noisy_moons = datasets.make_moons(n_samples=128, noise=.05, random_state=rs)[0].astype(np.float32) * 0.2
    loss = -flow.log_prob(torch.from_numpy(noisy_moons)).mean()

    optimizer.zero_grad()
    loss.backward(retain_graph=True)
    optimizer.step()
    sched.step()

    if t % 200 == 0:
        print('iter %s:' % t, 'loss = %.3f' % loss.item())

with torch.no_grad():
    z, _ = flow.f(torch.from_numpy(held_out))
    back = flow.g(z)
    x = flow.sample(1000)
    d = torch.cdist(x, torch.from_numpy(held_out)).min(1).values
    gauss = distributions.MultivariateNormal(torch.tensor(held_out.mean(0)), torch.tensor(np.cov(held_out.T), dtype=torch.float32))
    print('held-out nll %.3f' % -flow.log_prob(torch.from_numpy(held_out)).mean(), 'gaussian fit nll %.3f' % -gauss.log_prob(torch.from_numpy(held_out)).mean())
    print('inverse error', (back - torch.from_numpy(held_out)).abs().max().item(), 'sample distance', d.mean().item())
