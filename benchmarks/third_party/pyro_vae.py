"""A variational autoencoder in pyro, whose optimiser makes one torch optimiser per parameter."""

# needs: pyro
import torch, torch.nn as nn, pyro, pyro.distributions as dist
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import Adam
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

pyro.set_rng_seed(0)
X = torch.tensor(load_digits().data, dtype=torch.float32) / 16
tr, te = DataLoader(TensorDataset(X[:1500]), 64, shuffle=True), DataLoader(TensorDataset(X[1500:]), 64)


class Dec(nn.Module):
    def __init__(s):
        super().__init__()
        s.f = nn.Sequential(nn.Linear(8, 64), nn.Softplus(), nn.Linear(64, 64), nn.Sigmoid())

    def forward(s, z):
        return s.f(z)


class Enc(nn.Module):
    def __init__(s):
        super().__init__()
        s.h = nn.Linear(64, 64)
        s.a = nn.Softplus()
        s.m = nn.Linear(64, 8)
        s.v = nn.Linear(64, 8)

    def forward(s, x):
        h = s.a(s.h(x))
        return s.m(h), torch.exp(s.v(h))


class VAE(nn.Module):
    def __init__(s):
        super().__init__()
        s.enc, s.dec = Enc(), Dec()

    def model(s, x):
        pyro.module("decoder", s.dec)
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("latent", dist.Normal(x.new_zeros(x.shape[0], 8), x.new_ones(x.shape[0], 8)).to_event(1))
            pyro.sample("obs", dist.Bernoulli(s.dec(z), validate_args=False).to_event(1), obs=x)

    def guide(s, x):
        pyro.module("encoder", s.enc)
        with pyro.plate("data", x.shape[0]):
            m, v = s.enc(x)
            pyro.sample("latent", dist.Normal(m, v).to_event(1))


vae = VAE()
svi = SVI(vae.model, vae.guide, Adam({"lr": 1e-3}), loss=Trace_ELBO())
for ep in range(4):
    l = sum(svi.step(x) for (x,) in tr) / 1500
    t = sum(svi.evaluate_loss(x) for (x,) in te) / 297
    print(ep, l, t)
