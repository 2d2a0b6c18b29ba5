"""Distillation in one script: the teacher is trained first, by the same function."""
# knowledge distillation: big net -> small net
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

torch.manual_seed(9)
X, y = load_digits(return_X_y=True)
a, b, c, d = train_test_split(X / 16, y, test_size=0.5, random_state=0)
xtr, xte = torch.tensor(a).float(), torch.tensor(b).float()
ytr, yte = torch.tensor(c), torch.tensor(d)
T, ALPHA = 3.0, 0.7


def acc(m):
    m.eval()
    with torch.no_grad():
        r = (m(xte).argmax(1) == yte).float().mean().item()
    m.train()
    return r


def fit(model, loss_fn, epochs, lr):
    opt = torch.optim.Adam(model.parameters(), lr=lr)
    for e in range(epochs):
        for i in torch.randperm(len(xtr)).split(64):
            loss = loss_fn(model(xtr[i]), xtr[i], ytr[i])
            opt.zero_grad()
            loss.backward()
            opt.step()
        if (e + 1) % 10 == 0:
            print("  epoch", e + 1, "loss", round(loss.item(), 4), "acc", round(acc(model), 4))


teacher = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Dropout(0.3), nn.Linear(256, 256), nn.ReLU(), nn.Dropout(0.3), nn.Linear(256, 10))
print("teacher")
fit(teacher, lambda o, x, y: F.cross_entropy(o, y), 30, 1e-3)
teacher.eval()
for p in teacher.parameters():
    p.requires_grad_(False)
student = nn.Sequential(nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10))


def kd(o, x, y):
    t = teacher(x)
    soft = F.kl_div(F.log_softmax(o / T, 1), F.softmax(t / T, 1), reduction="batchmean") * T * T
    return ALPHA * soft + (1 - ALPHA) * F.cross_entropy(o, y)


print("student")
fit(student, kd, 40, 3e-3)
