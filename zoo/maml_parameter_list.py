"""MAML on digits with a functional network: its weights lie in a list that `parameters()` gives back as it is."""
import argparse
import copy
import numpy as np
import torch
from torch import nn, optim
from torch.nn import functional as F
from sklearn.datasets import load_digits



class Learner(nn.Module):
    def __init__(self, config):
        super(Learner, self).__init__()
        self.config = config
        self.vars = nn.ParameterList()
        for name, param in self.config:
            if name == 'conv2d':
                w = nn.Parameter(torch.ones(*param[:4]))
                torch.nn.init.kaiming_normal_(w)
                self.vars.append(w)
                self.vars.append(nn.Parameter(torch.zeros(param[0])))
            elif name == 'linear':
                w = nn.Parameter(torch.ones(*param))
                torch.nn.init.kaiming_normal_(w)
                self.vars.append(w)
                self.vars.append(nn.Parameter(torch.zeros(param[0])))

    def forward(self, x, vars=None):
        if vars is None:
            vars = self.vars
        idx = 0
        for name, param in self.config:
            if name == 'conv2d':
                w, b = vars[idx], vars[idx + 1]
                x = F.conv2d(x, w, b, stride=param[4], padding=param[5])
                idx += 2
            elif name == 'linear':
                w, b = vars[idx], vars[idx + 1]
                x = F.linear(x, w, b)
                idx += 2
            elif name == 'relu':
                x = F.relu(x, inplace=param[0])
            elif name == 'flatten':
                x = x.view(x.size(0), -1)
        assert idx == len(vars)
        return x

    def parameters(self):
        return self.vars


class Meta(nn.Module):
    def __init__(self, args, config):
        super(Meta, self).__init__()
        self.update_lr, self.meta_lr, self.task_num = args.update_lr, args.meta_lr, args.task_num
        self.update_step, self.update_step_test = args.update_step, args.update_step_test
        self.net = Learner(config)
        self.meta_optim = optim.Adam(self.net.parameters(), lr=self.meta_lr)

    def forward(self, x_spt, y_spt, x_qry, y_qry):
        task_num, querysz = x_spt.size(0), x_qry.size(1)
        losses_q = [0 for _ in range(self.update_step + 1)]
        corrects = [0 for _ in range(self.update_step + 1)]
        for i in range(task_num):
            logits = self.net(x_spt[i], vars=None)
            loss = F.cross_entropy(logits, y_spt[i])
            grad = torch.autograd.grad(loss, self.net.parameters(), create_graph=True)
            fast_weights = list(map(lambda p: p[1] - self.update_lr * p[0], zip(grad, self.net.parameters())))
            with torch.no_grad():
                logits_q = self.net(x_qry[i], self.net.parameters())
                losses_q[0] += F.cross_entropy(logits_q, y_qry[i])
                corrects[0] += torch.eq(logits_q.argmax(dim=1), y_qry[i]).sum().item()
            for k in range(1, self.update_step):
                loss = F.cross_entropy(self.net(x_spt[i], fast_weights), y_spt[i])
                grad = torch.autograd.grad(loss, fast_weights, create_graph=True)
                fast_weights = list(map(lambda p: p[1] - self.update_lr * p[0], zip(grad, fast_weights)))
            logits_q = self.net(x_qry[i], fast_weights)
            loss_q = F.cross_entropy(logits_q, y_qry[i])
            losses_q[self.update_step] += loss_q
            with torch.no_grad():
                corrects[self.update_step] += torch.eq(logits_q.argmax(dim=1), y_qry[i]).sum().item()
        loss_q = losses_q[-1] / task_num
        self.meta_optim.zero_grad()
        loss_q.backward()
        self.meta_optim.step()
        return np.array(corrects)[[0, -1]] / (querysz * task_num), loss_q.item()

    def finetunning(self, x_spt, y_spt, x_qry, y_qry):
        assert len(x_spt.shape) == 4
        corrects = [0 for _ in range(self.update_step_test + 1)]
        net = copy.deepcopy(self.net)
        fast_weights = list(net.parameters())
        for k in range(self.update_step_test + 1):
            with torch.no_grad():
                corrects[k] = torch.eq(net(x_qry, fast_weights).argmax(dim=1), y_qry).float().mean().item()
            if k == self.update_step_test:
                break
            loss = F.cross_entropy(net(x_spt, fast_weights), y_spt)
            grad = torch.autograd.grad(loss, fast_weights)
            fast_weights = list(map(lambda p: p[1] - self.update_lr * p[0], zip(grad, fast_weights)))
        del net
        return np.array(corrects)


class TaskSampler:
    """meta-training on digits 0..6, meta-test on the unseen digits 7, 8, 9"""

    def __init__(self, classes, seed, n_way=3, k_spt=3, k_qry=8):
        d = load_digits()
        x = torch.tensor(d.images, dtype=torch.float32).unsqueeze(1) / 8 - 1
        self.by_class = [x[d.target == c] for c in classes]
        self.rng, self.n_way, self.k_spt, self.k_qry = np.random.RandomState(seed), n_way, k_spt, k_qry

    def task(self):
        cs = self.rng.choice(len(self.by_class), self.n_way, replace=False)
        sx, sy, qx, qy = [], [], [], []
        for label, c in enumerate(cs):
            idx = self.rng.choice(len(self.by_class[c]), self.k_spt + self.k_qry, replace=False)
            imgs = self.by_class[c][idx]
            imgs = torch.rot90(imgs, int(self.rot), (2, 3))
            sx.append(imgs[:self.k_spt]); qx.append(imgs[self.k_spt:])
            sy += [label] * self.k_spt; qy += [label] * self.k_qry
        return torch.cat(sx), torch.tensor(sy), torch.cat(qx), torch.tensor(qy)

    def next(self, n):
        out = []
        for _ in range(n):
            self.rot = self.rng.randint(4)
            out.append(self.task())
        return [torch.stack(z) for z in zip(*out)]


if __name__ == '__main__':
    p = argparse.ArgumentParser()
    p.add_argument('--epoch', type=int, default=40)
    p.add_argument('--task_num', type=int, default=6)
    p.add_argument('--meta_lr', type=float, default=2e-3)
    p.add_argument('--update_lr', type=float, default=0.1)
    p.add_argument('--update_step', type=int, default=3)
    p.add_argument('--update_step_test', type=int, default=5)
    args = p.parse_args()
    torch.manual_seed(222); np.random.seed(222)
    config = [('conv2d', [24, 1, 3, 3, 1, 1]), ('relu', [True]), ('conv2d', [32, 24, 3, 3, 2, 1]), ('relu', [True]),
              ('conv2d', [32, 32, 3, 3, 2, 1]), ('relu', [True]), ('flatten', []), ('linear', [3, 128])]
    maml = Meta(args, config)
    train, test = TaskSampler(range(7), 1), TaskSampler([7, 8, 9], 2)
    for step in range(args.epoch + 1):
        if step in (0, args.epoch):
            accs = [maml.finetunning(*(z[0] for z in test.next(1))) for _ in range(10)]
            print('Test acc per inner step on unseen digits:', np.array(accs).mean(axis=0).round(3))
        accs, loss = maml(*train.next(args.task_num))
        if step % 20 == 0:
            print('step:', step, '\ttraining acc before/after adaptation:', accs.round(3), 'meta loss %.3f' % loss)
