"""Breast cancer table, weights and buffers kept outside the module (functional style)."""
from functools import partial

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.func import functional_call
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split


def prepare(seed=17):
    X, y = load_breast_cancer(return_X_y=True)
    X_tr, X_te, y_tr, y_te = train_test_split(X, y, test_size=0.3, stratify=y, random_state=seed)
    med, spread = X_tr.mean(0), X_tr.std(0)
    t = partial(torch.tensor, dtype=torch.float32)
    return t((X_tr - med) / spread), t(y_tr), t((X_te - med) / spread), t(y_te)


def make_net(d_in, widths=(64, 64, 48, 48, 24)):
    blocks, prev = [], d_in
    for w in widths:
        blocks += [nn.Linear(prev, w), nn.BatchNorm1d(w), nn.ReLU()]
        prev = w
    return nn.Sequential(*blocks, nn.Linear(prev, 1), nn.Flatten(0))


def init_state(net):
    params = {k: p.detach().clone().requires_grad_() for k, p in net.named_parameters()}
    buffers = {k: b.clone() for k, b in net.named_buffers()}
    return params, buffers


def apply(net, params, buffers, x, train):
    net.train(train)
    return functional_call(net, (params, buffers), (x,))


def main():
    torch.manual_seed(17)
    X_tr, y_tr, X_te, y_te = prepare()
    net = make_net(X_tr.shape[1])
    params, buffers = init_state(net)
    opt = torch.optim.SGD(params.values(), lr=0.03, momentum=0.9, weight_decay=1e-3)
    for epoch in range(30):
        total, count = 0.0, 0
        for idx in torch.randperm(len(X_tr)).split(32):
            if len(idx) < 8:
                continue
            z = apply(net, params, buffers, X_tr[idx], train=True)
            loss = F.binary_cross_entropy_with_logits(z, y_tr[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
            total, count = total + loss.item(), count + 1
        if epoch % 3 == 2:
            with torch.no_grad():
                z = apply(net, params, buffers, X_te, train=False)
                vl = F.binary_cross_entropy_with_logits(z, y_te).item()
                acc = ((z > 0) == (y_te > 0.5)).float().mean().item()
            print(f"epoch {epoch + 1} train loss {total / count:.4f}  test loss {vl:.4f} acc {acc:.4f}")


if __name__ == "__main__":
    main()
