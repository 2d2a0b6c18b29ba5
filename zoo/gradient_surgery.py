"""Two digits in one picture, a head for each: conflicting gradients are projected before the step (PCGrad)."""
import copy
import random
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split



class PCGrad():
    def __init__(self, optimizer, reduction='mean'):
        self._optim, self._reduction = optimizer, reduction
        self.conflicts = 0

    @property
    def optimizer(self):
        return self._optim

    def zero_grad(self):
        return self._optim.zero_grad(set_to_none=True)

    def step(self):
        return self._optim.step()

    def pc_backward(self, objectives):
        grads, shapes, has_grads = self._pack_grad(objectives)
        pc_grad = self._project_conflicting(grads, has_grads)
        pc_grad = self._unflatten_grad(pc_grad, shapes[0])
        self._set_grad(pc_grad)

    def _project_conflicting(self, grads, has_grads):
        shared = torch.stack(has_grads).prod(0).bool()
        pc_grad = copy.deepcopy(grads)
        for g_i in pc_grad:
            random.shuffle(grads)
            for g_j in grads:
                g_i_g_j = torch.dot(g_i, g_j)
                if g_i_g_j < 0:
                    self.conflicts += 1
                    g_i -= (g_i_g_j) * g_j / (g_j.norm() ** 2)
        merged_grad = torch.zeros_like(grads[0])
        stacked = torch.stack(pc_grad)
        merged_grad[shared] = stacked[:, shared].mean(dim=0) if self._reduction == 'mean' else stacked[:, shared].sum(dim=0)
        merged_grad[~shared] = stacked[:, ~shared].sum(dim=0)
        return merged_grad

    def _set_grad(self, grads):
        idx = 0
        for group in self._optim.param_groups:
            for p in group['params']:
                p.grad = grads[idx]
                idx += 1

    def _pack_grad(self, objectives):
        grads, shapes, has_grads = [], [], []
        for obj in objectives:
            self._optim.zero_grad(set_to_none=True)
            obj.backward(retain_graph=True)
            grad, shape, has_grad = self._retrieve_grad()
            grads.append(torch.cat([g.flatten() for g in grad]))
            has_grads.append(torch.cat([g.flatten() for g in has_grad]))
            shapes.append(shape)
        return grads, shapes, has_grads

    def _unflatten_grad(self, grads, shapes):
        unflatten_grad, idx = [], 0
        for shape in shapes:
            length = int(np.prod(shape))
            unflatten_grad.append(grads[idx:idx + length].view(shape).clone())
            idx += length
        return unflatten_grad

    def _retrieve_grad(self):
        grad, shape, has_grad = [], [], []
        for group in self._optim.param_groups:
            for p in group['params']:
                shape.append(p.shape)
                if p.grad is None:
                    grad.append(torch.zeros_like(p)); has_grad.append(torch.zeros_like(p))
                    continue
                grad.append(p.grad.clone()); has_grad.append(torch.ones_like(p))
        return grad, shape, has_grad


class MultiDigits(torch.utils.data.Dataset):
    def __init__(self, x, y, n, seed):
        r = np.random.RandomState(seed)
        i, j = r.randint(0, len(x), n), r.randint(0, len(x), n)
        canvas = np.zeros((n, 10, 10), np.float32)
        canvas[:, :8, :8] = x[i]
        canvas[:, 2:, 2:] = np.maximum(canvas[:, 2:, 2:], x[j])
        self.x = torch.tensor(canvas).unsqueeze(1) - .4
        self.y = torch.tensor(np.stack([y[i], y[j]], 1))

    def __len__(self):
        return len(self.x)

    def __getitem__(self, k):
        return self.x[k], self.y[k]


class MultiLeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc = nn.Sequential(nn.Conv2d(1, 24, 3), nn.ReLU(), nn.Conv2d(24, 48, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(432, 96), nn.ReLU())
        self.heads = nn.ModuleList([nn.Sequential(nn.Linear(96, 48), nn.ReLU(), nn.Linear(48, 10)) for _ in range(2)])

    def forward(self, x):
        h = self.enc(x)
        return [F.log_softmax(head(h), 1) for head in self.heads]


def main():
    random.seed(0); np.random.seed(0); torch.manual_seed(0)
    d = load_digits()
    xtr, xte, ytr, yte = train_test_split(d.images / 16, d.target, test_size=.25, random_state=0, stratify=d.target)
    train_loader = torch.utils.data.DataLoader(MultiDigits(xtr, ytr, 2000, 1), batch_size=128, shuffle=True, drop_last=True)
    test_loader = torch.utils.data.DataLoader(MultiDigits(xte, yte, 1000, 2), batch_size=250)
    net = MultiLeNet()
    optimizer = PCGrad(optim.Adam(net.parameters(), lr=2e-3))
    for it in range(4):
        net.train()
        tot, optimizer.conflicts = np.zeros(2), 0
        for batch, labels in train_loader:
            out_l, out_r = net(batch)
            losses = [F.nll_loss(out_l, labels[:, 0]), F.nll_loss(out_r, labels[:, 1])]
            optimizer.pc_backward(losses)
            optimizer.step()
            tot += [l.item() for l in losses]
        if it % 2 == 1:
            print('epoch', it + 1, 'losses', (tot / len(train_loader)).round(4), 'projections per step %.2f' % (optimizer.conflicts / len(train_loader)))
    net.eval()
    hits = np.zeros(2)
    with torch.no_grad():
        for batch, labels in test_loader:
            hits += [(o.argmax(1) == labels[:, k]).sum().item() for k, o in enumerate(net(batch))]
    print('test accuracy top-left %.3f bottom-right %.3f' % tuple(hits / 1000))


main()
