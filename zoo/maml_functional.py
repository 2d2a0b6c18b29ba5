"""MAML on sinusoids with torch.func: the inner loop is vmapped over tasks."""
import torch
from torch import nn
from torch.func import functional_call, grad, vmap

torch.manual_seed(0)
net = nn.Sequential(nn.Linear(1, 40), nn.Tanh(), nn.Linear(40, 40), nn.Tanh(), nn.Linear(40, 1))
meta = {k: p for k, p in net.named_parameters()}
INNER_LR, INNER_STEPS, SHOTS = 0.05, 2, 10


def tasks(n, shots=SHOTS):
    amp = torch.rand(n, 1, 1) * 2 + 0.5
    phase = torch.rand(n, 1, 1) * 3.1416
    x = torch.rand(n, 2 * shots, 1) * 6 - 3
    y = amp * torch.sin(x + phase)
    return x[:, :shots], y[:, :shots], x[:, shots:], y[:, shots:]


def mse(params, x, y):
    return ((functional_call(net, params, (x,)) - y) ** 2).mean()


def adapt(params, x, y, steps=INNER_STEPS):
    for _ in range(steps):
        g = grad(mse)(params, x, y)
        params = {k: params[k] - INNER_LR * g[k] for k in params}
    return params


def query_loss(params, xs, ys, xq, yq, steps=INNER_STEPS):
    return mse(adapt(params, xs, ys, steps), xq, yq)


batched = vmap(query_loss, in_dims=(None, 0, 0, 0, 0))
outer = torch.optim.Adam(meta.values(), lr=2e-3)
sched = torch.optim.lr_scheduler.CosineAnnealingLR(outer, 1500, eta_min=2e-4)

ema = None
for it in range(1, 401):
    loss = batched(meta, *tasks(24)).mean()
    grads = torch.autograd.grad(loss, list(meta.values()))
    for p, g in zip(meta.values(), grads):
        p.grad = g
    nn.utils.clip_grad_norm_(meta.values(), 5.0)
    outer.step()
    sched.step()
    ema = loss.item() if ema is None else 0.98 * ema + 0.02 * loss.item()
    if it % 100 == 0:
        print(f"meta step {it:4d} query loss after adaptation {ema:.4f}")

with torch.no_grad():
    frozen = {k: p.detach() for k, p in meta.items()}
test = tasks(300)
for steps in (0, 1, 2, 5):
    err = vmap(lambda *t: query_loss(frozen, *t, steps=steps))(*test).mean().item()
    print(f"new tasks, {steps} inner steps: mse {err:.4f}")
