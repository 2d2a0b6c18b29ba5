"""Reptile: the weights are moved by hand towards the adapted ones."""
import copy
import torch
from torch import nn

torch.manual_seed(6)
net = nn.Sequential(nn.Linear(1, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))


def task():
    a, p = torch.rand(1) * 2.5 + 0.5, torch.rand(1) * 3.14
    return lambda x: a * torch.sin(x + p)


def inner(model, f, steps, lr=0.02, n=20):
    opt = torch.optim.SGD(model.parameters(), lr=lr)
    x = torch.rand(n, 1) * 8 - 4
    for _ in range(steps):
        i = torch.randperm(n)[:10]
        loss = ((model(x[i]) - f(x[i])) ** 2).mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
    return loss.item()


OUTER = 1500
for it in range(OUTER):
    before = copy.deepcopy(net.state_dict())
    inner(net, task(), 8)
    after = net.state_dict()
    eps = 0.5 * (1 - it / OUTER)
    net.load_state_dict({k: before[k] + eps * (after[k] - before[k]) for k in before})
    if (it + 1) % 300 == 0:
        e = []
        for _ in range(20):
            m, f = copy.deepcopy(net), task()
            inner(m, f, 16)
            x = torch.linspace(-4, 4, 80)[:, None]
            with torch.no_grad():
                e.append(((m(x) - f(x)) ** 2).mean().item())
        print(it + 1, "mse after 16 steps", round(sum(e) / 20, 3))
