"""A mixture density network with a straight-through binary code."""
import math
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(6)


def data(n):
    t = torch.rand(n, 1) * 2 - 1
    x = t + 0.35 * torch.sin(2 * math.pi * t) + 0.05 * torch.randn(n, 1)
    return x, t


class QuantLinear(nn.Linear):
    """weights rounded to 4 bits in the forward pass, straight-through gradient"""

    def forward(self, x):
        scale = self.weight.abs().max().detach() / 7
        q = torch.round(self.weight / scale).clamp(-8, 7) * scale
        w = self.weight + (q - self.weight).detach()
        return F.linear(x, w, self.bias)


class MDN(nn.Module):
    def __init__(self, k=6, h=48):
        super().__init__()
        self.inp = nn.Linear(1, h)
        self.mid = QuantLinear(h, h)
        self.pi = nn.Linear(h, k)
        self.mu = nn.Linear(h, k)
        self.log_sigma = nn.Linear(h, k)
        with torch.no_grad():
            self.mu.bias.copy_(torch.linspace(-1, 1, k))
            self.log_sigma.bias.fill_(-1.0)

    def forward(self, x):
        h = torch.tanh(self.mid(torch.tanh(self.inp(x))))
        return F.log_softmax(self.pi(h), -1), self.mu(h), self.log_sigma(h).clamp(-4, 1)


def nll(params, t):
    log_pi, mu, log_sigma = params
    z = (t - mu) / log_sigma.exp()
    log_prob = -0.5 * z ** 2 - log_sigma - 0.5 * math.log(2 * math.pi)
    return -torch.logsumexp(log_pi + log_prob, dim=-1).mean()


x, t = data(3000)
xv, tv = data(1000)
model = MDN()
opt = torch.optim.Adam(model.parameters(), lr=3e-3)
loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, t), batch_size=100, shuffle=True)
for epoch in range(20):
    model.train()
    for xb, tb in loader:
        loss = nll(model(xb), tb)
        opt.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        opt.step()
    model.eval()
    with torch.no_grad():
        print(epoch, f"train {loss.item():.3f} valid {nll(model(xv), tv).item():.3f}")
