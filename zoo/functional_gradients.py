"""Logistic regression and a small net, gradients by hand with torch.func, no optimiser object."""
import torch
import torch.nn.functional as F
from torch.func import grad_and_value, vmap
from sklearn.datasets import load_breast_cancer

torch.manual_seed(33)
data = load_breast_cancer()
X = torch.tensor(data.data, dtype=torch.float32)
y = torch.tensor(data.target, dtype=torch.float32)
p = torch.randperm(len(y))
X, y = X[p], y[p]
X = (X - X[:400].mean(0)) / X[:400].std(0)


def init(sizes):
    return [(torch.randn(i, o) / i ** 0.5, torch.zeros(o)) for i, o in zip(sizes, sizes[1:])]


def forward(params, x):
    for k, (w, b) in enumerate(params):
        x = x @ w + b
        if k < len(params) - 1:
            x = torch.tanh(x)
    return x.squeeze(-1)


def objective(params, x, t):
    nll = F.binary_cross_entropy_with_logits(forward(params, x), t)
    return nll + 1e-3 * sum((w ** 2).sum() for w, _ in params)


params = init([30, 16, 1])
velocity = [(torch.zeros_like(w), torch.zeros_like(b)) for w, b in params]
step = grad_and_value(objective)
for epoch in range(30):
    order = torch.randperm(400)
    for idx in order.split(40):
        g, loss = step(params, X[idx], y[idx])
        velocity = [tuple(0.9 * v + gg for v, gg in zip(vs, gs)) for vs, gs in zip(velocity, g)]
        params = [tuple(q - 0.03 * v for q, v in zip(qs, vs)) for qs, vs in zip(params, velocity)]
    if epoch % 6 == 5:
        acc = ((forward(params, X[400:]) > 0) == (y[400:] > 0.5)).float().mean().item()
        print(epoch + 1, f"{loss.item():.4f} {acc:.4f}")
