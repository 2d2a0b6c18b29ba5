"""Mean teacher on digits with few labels: consistency to an exponential moving average that is also evaluated."""
import copy
import itertools

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class EMA:
    def __init__(self, model, decay):
        self.decay = decay
        self.module = copy.deepcopy(model)
        self.module.eval()
        for p in self.module.parameters():
            p.requires_grad_(False)

    @torch.no_grad()
    def update(self, model, step):
        decay = min(self.decay, (1 + step) / (10 + step))
        for mine, theirs in zip(self.module.parameters(), model.parameters()):
            mine.mul_(decay).add_(theirs, alpha=1 - decay)
        for mine, theirs in zip(self.module.buffers(), model.buffers()):
            mine.copy_(theirs)


def student_net():
    return nn.Sequential(nn.Linear(64, 96), nn.BatchNorm1d(96), nn.ReLU(), nn.Linear(96, 48), nn.ReLU(), nn.Linear(48, 10))


def noisy(x):
    return x + 0.3 * torch.randn_like(x)


@torch.no_grad()
def accuracy(net, loader):
    was_training = net.training
    net.eval()
    hit = sum((net(x).argmax(1) == y).sum().item() for x, y in loader)
    net.train(was_training)
    return hit / len(loader.dataset)


def main():
    torch.manual_seed(77)
    X, y = load_digits(return_X_y=True)
    X_tr, X_te, y_tr, y_te = train_test_split(X, y, test_size=400, stratify=y, random_state=77)
    X_un, X_lab, _, y_lab = train_test_split(X_tr, y_tr, test_size=200, stratify=y_tr, random_state=78)
    prep = lambda a: torch.tensor((a - X_un.mean()) / X_un.std(), dtype=torch.float32)

    labelled = DataLoader(TensorDataset(prep(X_lab), torch.tensor(y_lab)), batch_size=40, shuffle=True)
    unlabelled = DataLoader(TensorDataset(prep(X_un)), batch_size=80, shuffle=True, drop_last=True)
    test = DataLoader(TensorDataset(prep(X_te), torch.tensor(y_te)), batch_size=200)

    student = student_net()
    teacher = EMA(student, decay=0.97)
    opt = torch.optim.Adam(student.parameters(), lr=2e-3)
    step = 0
    for epoch in range(12):
        student.train()
        ramp = min(1.0, (epoch + 1) / 5)
        sup = con = 0.0
        for (xu,), (xl, yl) in zip(unlabelled, itertools.chain(labelled, labelled, labelled)):
            logits = student(torch.cat([noisy(xl), noisy(xu)]))
            with torch.no_grad():
                target = teacher.module(xu).softmax(1)
            supervised = F.cross_entropy(logits[: len(xl)], yl)
            consistency = F.mse_loss(logits[len(xl):].softmax(1), target)
            loss = supervised + 5.0 * ramp * consistency

            opt.zero_grad()
            loss.backward()
            opt.step()
            step += 1
            teacher.update(student, step)
            sup += supervised.item()
            con += consistency.item()
        print(f"epoch {epoch:2d} supervised {sup / len(unlabelled):.4f} consistency {con / len(unlabelled):.5f} "
              f"student {accuracy(student, test):.4f} teacher {accuracy(teacher.module, test):.4f}")
    print(f"teacher accuracy {accuracy(teacher.module, test):.4f}")


if __name__ == "__main__":
    main()
