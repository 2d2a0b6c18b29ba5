"""Domain-adversarial training with a gradient reversal between digits and inverted digits."""
import math
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits


class ReverseGrad(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, alpha):
        ctx.alpha = alpha
        return x.view_as(x)

    @staticmethod
    def backward(ctx, g):
        return -ctx.alpha * g, None


class DANN(nn.Module):
    def __init__(self):
        super().__init__()
        self.feature = nn.Sequential(nn.Conv2d(1, 24, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(24, 48, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(768, 64), nn.ReLU())
        self.label = nn.Linear(64, 10)
        self.domain = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, x, alpha):
        f = self.feature(x)
        return self.label(f), self.domain(ReverseGrad.apply(f, alpha)).squeeze(1)


torch.manual_seed(14)
d = load_digits()
x = torch.tensor(d.images, dtype=torch.float32)[:, None] / 16
y = torch.tensor(d.target)
p = torch.randperm(len(x))
x, y = x[p], y[p]
xs, ys = x[:800], y[:800]
shifted = (0.6 * x + 0.25 * torch.rand_like(x)).clamp(0, 1)
xt, xv, yv = shifted[800:1400], shifted[1400:], y[1400:]

net = DANN()
opt = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
EPOCHS = 25
for epoch in range(EPOCHS):
    net.train()
    alpha = 2 / (1 + math.exp(-10 * epoch / EPOCHS)) - 1
    for idx in torch.randperm(len(xs)).split(40):
        tb = xt[torch.randint(len(xt), (len(idx),))]
        logits, dom_s = net(xs[idx], alpha)
        _, dom_t = net(tb, alpha)
        cls = F.cross_entropy(logits, ys[idx])
        dom = F.binary_cross_entropy_with_logits(dom_s, torch.ones_like(dom_s)) + F.binary_cross_entropy_with_logits(dom_t, torch.zeros_like(dom_t))
        loss = cls + 0.3 * dom
        opt.zero_grad()
        loss.backward()
        opt.step()
    net.eval()
    with torch.no_grad():
        acc = (net(xv, 0.0)[0].argmax(1) == yv).float().mean().item()
    if epoch % 4 == 0:
        print(f"{epoch} cls {cls.item():.3f} dom {dom.item():.3f} target acc {acc:.4f}")
