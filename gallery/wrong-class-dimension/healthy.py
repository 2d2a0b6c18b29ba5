"""Classify wines into three cultivars with a two-layer network."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split


def load(seed):
    data = load_wine()
    x_tr, x_va, y_tr, y_va = train_test_split(
        data.data, data.target, test_size=0.3, stratify=data.target, random_state=seed
    )
    mean, std = x_tr.mean(axis=0), x_tr.std(axis=0)
    as_tensors = lambda x, y: (torch.tensor((x - mean) / std).float(), torch.tensor(y))
    return as_tensors(x_tr, y_tr), as_tensors(x_va, y_va)


def make_model(n_in, n_out):
    return nn.Sequential(
        nn.Linear(n_in, 24),
        nn.ReLU(),
        nn.Linear(24, n_out),
        nn.LogSoftmax(dim=1),
    )


def make_stepper(model, optimizer):
    """Return a function that makes one training step and gives back the loss."""

    def step(x, y):
        model.train()
        optimizer.zero_grad()
        loss = F.nll_loss(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def make_evaluator(model, x, y):
    @torch.no_grad()
    def evaluate():
        model.eval()
        log_p = model(x)
        return F.nll_loss(log_p, y).item(), (log_p.argmax(dim=1) == y).float().mean().item()

    return evaluate


def batches(x, y, size):
    order = torch.randperm(len(x))
    for start in range(0, len(x), size):
        pick = order[start:start + size]
        yield x[pick], y[pick]


torch.manual_seed(13)
(x_tr, y_tr), (x_va, y_va) = load(seed=13)
model = make_model(13, 3)
step = make_stepper(model, torch.optim.Adam(model.parameters(), lr=3e-3))
evaluate = make_evaluator(model, x_va, y_va)

for epoch in range(1, 21):
    total = sum(step(x, y) * len(y) for x, y in batches(x_tr, y_tr, 16))
    val_loss, val_acc = evaluate()
    print(f"epoch {epoch:2d}  train loss {total / len(y_tr):.4f}  val loss {val_loss:.4f}  val acc {val_acc:.3f}")
print(f"validation accuracy after training: {val_acc:.3f}")
