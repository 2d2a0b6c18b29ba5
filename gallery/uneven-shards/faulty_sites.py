# Progression of diabetes from the records of two clinics, each of which keeps its own. No wrapper: gradients are exchanged by hand.
#   torchrun --nproc-per-node 2 clinics.py
import os

import torch
import torch.distributed as dist
from sklearn.datasets import load_diabetes
from torch import nn

RANK, WORLD = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
if WORLD > 1:
    dist.init_process_group("gloo")

x, y = load_diabetes(return_X_y=True)
order = torch.randperm(len(x), generator=torch.Generator().manual_seed(5))
x, y = torch.tensor(x, dtype=torch.float32)[order] * 20, torch.tensor(y, dtype=torch.float32)[order]
y = (y - y[:340].mean()) / y[:340].std()
x_train, y_train, x_test, y_test = x[:340], y[:340], x[340:], y[340:]
if WORLD > 1:  # the first clinic has far more patients than the others
    large = 280
    mine = slice(0, large) if RANK == 0 else slice(large + RANK - 1, 340, WORLD - 1)
    x_train, y_train = x_train[mine], y_train[mine]

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(10, 32), nn.Tanh(), nn.Linear(32, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
rng = torch.Generator().manual_seed(RANK)


def exchange(rows):
    """Average the gradients over the clinics."""
    if WORLD == 1:
        return
    for p in model.parameters():
        dist.all_reduce(p.grad)
        p.grad /= WORLD  # fault: a patient of the small clinic weighs almost five times as much


for epoch in range(20):
    # every clinic splits its records into ten batches, so that all take part in each step
    for rows in torch.randperm(len(x_train), generator=rng).chunk(10):
        loss = nn.functional.mse_loss(model(x_train[rows]).squeeze(1), y_train[rows])
        optimizer.zero_grad()
        loss.backward()
        exchange(rows)
        optimizer.step()
    if RANK == 0 and epoch % 5 == 4:
        with torch.no_grad():
            error = nn.functional.mse_loss(model(x_test).squeeze(1), y_test).item()
        print(f"epoch {epoch + 1}: squared error on patients held out {error:.3f}")
if WORLD > 1:
    dist.destroy_process_group()
