"""MAML (second order) for few-shot sine regression, inner loop with torch.func.functional_call."""
import math

import torch
from torch import nn
from torch.func import functional_call

INNER_LR, META_LR = 0.02, 3e-3
TASKS, SHOTS, INNER_STEPS = 5, 10, 1
EPOCHS, ITERS = 6, 20


class SineTasks:
    def __init__(self, seed):
        self.g = torch.Generator().manual_seed(seed)

    def uniform(self, lo, hi, *shape):
        return lo + (hi - lo) * torch.rand(*shape, generator=self.g)

    def task(self):
        amplitude, phase = self.uniform(0.5, 2.0, 1), self.uniform(0, math.pi, 1)

        def draw(n):
            x = self.uniform(-3, 3, n, 1)
            return x, amplitude * torch.sin(x + phase)

        return draw


def adapt(net, params, x, y, create_graph):
    """gradient steps away from params; returns the fast weights"""
    fast = params
    for _ in range(INNER_STEPS):
        loss = nn.functional.mse_loss(functional_call(net, fast, (x,)), y)
        grads = torch.autograd.grad(loss, tuple(fast.values()), create_graph=create_graph)
        fast = {k: w - INNER_LR * g for (k, w), g in zip(fast.items(), grads)}
    return fast


def evaluate(net, tasks, n=40):
    before = after = 0.0
    params = dict(net.named_parameters())
    for _ in range(n):
        draw = tasks.task()
        fast = adapt(net, params, *draw(SHOTS), create_graph=False)
        x, y = draw(50)
        with torch.no_grad():
            before += nn.functional.mse_loss(net(x), y).item()
            after += nn.functional.mse_loss(functional_call(net, fast, (x,)), y).item()
    return before / n, after / n


def main():
    torch.manual_seed(10)
    net = nn.Sequential(nn.Linear(1, 40), nn.Tanh(), nn.Linear(40, 40), nn.Tanh(), nn.Linear(40, 1))
    meta_opt = torch.optim.Adam(net.parameters(), lr=META_LR)
    tasks = SineTasks(seed=10)
    for epoch in range(EPOCHS):
        running = 0.0
        for _ in range(ITERS):
            params = dict(net.named_parameters())
            meta_loss = 0.0
            for _ in range(TASKS):
                draw = tasks.task()
                fast = adapt(net, params, *draw(SHOTS), create_graph=True)
                x_query, y_query = draw(SHOTS)
                meta_loss = meta_loss + nn.functional.mse_loss(functional_call(net, fast, (x_query,)), y_query)
            meta_loss = meta_loss / TASKS
            meta_opt.zero_grad()
            meta_loss.backward()
            meta_opt.step()
            running += meta_loss.item()
        before, after = evaluate(net, SineTasks(seed=77))
        print(f"epoch {epoch}: query loss {running / ITERS:.4f}; new tasks {before:.4f} before, {after:.4f} after one step")
    print(f"one inner step takes the error on new tasks from {before:.3f} to {after:.3f}")


if __name__ == "__main__":
    main()
