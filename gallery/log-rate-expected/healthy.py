"""Bike-counter style count regression, synthetic hours/weather -> Poisson counts."""
import math
import torch
import torch.nn as nn

g = torch.Generator().manual_seed(1)
N = 8000
hour = torch.rand(N, generator=g) * 24
temp = torch.randn(N, generator=g)
rain = (torch.rand(N, generator=g) < 0.25).float()
wend = (torch.rand(N, generator=g) < 2 / 7).float()
peak = torch.exp(-((hour - 8) / 2) ** 2) + torch.exp(-((hour - 17.5) / 2.5) ** 2)
rate = torch.exp(0.7 + 1.6 * peak * (1 - 0.6 * wend) + 0.3 * temp - 0.8 * rain)
y = torch.poisson(rate, generator=g)
X = torch.stack([torch.sin(hour * math.pi / 12), torch.cos(hour * math.pi / 12), torch.sin(hour * math.pi / 6),
                 torch.cos(hour * math.pi / 6), temp, rain, wend], 1)

n_train = 6000
Xtr, ytr, Xte, yte = X[:n_train], y[:n_train], X[n_train:], y[n_train:]


class RateNet(nn.Module):
    """returns the expected count"""

    def __init__(self):
        super().__init__()
        self.l1 = nn.Linear(7, 48)
        self.l2 = nn.Linear(48, 48)
        self.l3 = nn.Linear(48, 1)

    def forward(self, x):
        h = torch.tanh(self.l1(x))
        h = torch.tanh(self.l2(h))
        return nn.functional.softplus(self.l3(h)).squeeze(1)


def deviance(mu, t):
    return 2 * (torch.xlogy(t, t / mu.clamp_min(1e-6)) - (t - mu)).mean()


torch.manual_seed(0)
net = RateNet()
nll = nn.PoissonNLLLoss(log_input=False)
opt = torch.optim.Adam(net.parameters(), lr=4e-3)
sched = torch.optim.lr_scheduler.StepLR(opt, 20, gamma=0.3)
for epoch in range(50):
    p = torch.randperm(n_train)
    acc = 0.0
    for k in range(0, n_train, 100):
        b = p[k:k + 100]
        loss = nll(net(Xtr[b]), ytr[b])
        opt.zero_grad()
        loss.backward()
        opt.step()
        acc += loss.item() * len(b)
    sched.step()
    if epoch % 10 == 9:
        print("epoch %d  nll %.4f  lr %.1e" % (epoch + 1, acc / n_train, sched.get_last_lr()[0]))

net.eval()
with torch.no_grad():
    mu = net(Xte)
print("corr(pred, rate) %.3f" % torch.corrcoef(torch.stack([mu, rate[n_train:]]))[0, 1])
print("test deviance %.4f | constant-mean deviance %.4f" % (deviance(mu, yte), deviance(ytr.mean().expand_as(yte), yte)))
