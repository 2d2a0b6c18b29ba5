"""A damped, driven equation, solved by a network: the physics is in the loss."""
import torch
import torch.nn as nn
import numpy as np

# u'(t) = -0.5 u(t) + cos(3 t),  u(0) = 1,  t in [0, 3]; collocation with a small network

class U(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1))

    def forward(self, t):
        return self.net(t)


def residual(model, t):
    t = t.requires_grad_(True)
    u = model(t)
    du = torch.autograd.grad(u, t, grad_outputs=torch.ones_like(u), create_graph=True)[0]
    return du + 0.5 * u - torch.cos(3 * t)


def exact(t):
    # particular a cos 3t + b sin 3t
    a, b = 0.5 / 9.25, 3 / 9.25
    return (1 - a) * np.exp(-0.5 * t) + a * np.cos(3 * t) + b * np.sin(3 * t)


def train(model, iters=1200, n=64):
    opt = torch.optim.Adam(model.parameters(), lr=3e-3)
    sched = torch.optim.lr_scheduler.ExponentialLR(opt, 0.999)
    zero = torch.zeros(1, 1)
    for i in range(iters):
        t = torch.rand(n, 1) * 3
        loss_f = residual(model, t).pow(2).mean()
        loss_0 = (model(zero) - 1).pow(2).mean()
        loss = loss_f + 5 * loss_0
        opt.zero_grad()
        loss.backward()
        opt.step()
        sched.step()
        if (i + 1) % 500 == 0:
            print(f"{i + 1:5d}  residual {loss_f.item():.3e}  initial {loss_0.item():.3e}")


if __name__ == "__main__":
    torch.manual_seed(0)
    m = U()
    train(m)
    tt = np.linspace(0, 3, 301)
    with torch.no_grad():
        pred = m(torch.tensor(tt, dtype=torch.float32)[:, None]).numpy()[:, 0]
    print("relative L2 error %.4f" % (np.linalg.norm(pred - exact(tt)) / np.linalg.norm(exact(tt))))
