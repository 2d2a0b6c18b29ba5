"""Knowledge distillation on digits: a large network teaches a small one."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.utils.data import TensorDataset, DataLoader

T, ALPHA = 4.0, 0.7


class Big(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(64, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Dropout(0.5),
            nn.Linear(256, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Dropout(0.5))
        self.out = nn.Linear(256, 10)

    def forward(self, x):
        return self.out(self.body(x))


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(64, 12)
        self.b = nn.Linear(12, 10)

    def forward(self, x):
        return self.b(F.relu(self.a(x)))


def kd_loss(student, teacher, labels):
    soft = F.kl_div(F.log_softmax(student / T, 1), F.softmax(teacher / T, 1), reduction="batchmean") * T * T
    return ALPHA * soft + (1 - ALPHA) * F.cross_entropy(student, labels)


def test(model, loader):
    model.eval()
    n = c = 0
    with torch.no_grad():
        for x, y in loader:
            c += model(x).argmax(1).eq(y).sum().item()
            n += len(y)
    model.train()
    return c / n


def main():
    torch.manual_seed(11)
    d = load_digits()
    x, y = torch.tensor(d.data).float() / 16, torch.tensor(d.target)
    p = torch.randperm(len(x))
    tr = DataLoader(TensorDataset(x[p[:1300]], y[p[:1300]]), 64, shuffle=True, drop_last=True)
    te = DataLoader(TensorDataset(x[p[1300:]], y[p[1300:]]), 256)
    teacher = Big()
    opt = torch.optim.Adam(teacher.parameters(), 2e-3)
    for e in range(6):
        for xb, yb in tr:
            loss = F.cross_entropy(teacher(xb), yb)
            opt.zero_grad()
            loss.backward()
            opt.step()
        print("teacher", e, round(test(teacher, te), 4))
    student = Small()
    opt = torch.optim.Adam(student.parameters(), 4e-3)
    for e in range(15):
        for xb, yb in tr:
            with torch.no_grad():
                t = teacher(xb)  # fault: the teacher is in training mode since its last test
            loss = kd_loss(student(xb), t, yb)
            opt.zero_grad()
            loss.backward()
            opt.step()
        print("student", e, round(loss.item(), 4), round(test(student, te), 4))


main()
