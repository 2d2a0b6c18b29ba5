"""Distil a wide digit classifier into a narrow one (temperature KL); the teacher travels through a file."""
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

T = 3.0
ALPHA = 0.7
TEACHER_FILE = "teacher_weights.pt"


def net(width, depth):
    layers = [nn.Linear(64, width), nn.ReLU()]
    for _ in range(depth - 1):
        layers += [nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def data():
    d = load_digits()
    g = torch.Generator().manual_seed(123)
    perm = torch.randperm(len(d.target), generator=g)
    x = torch.tensor(d.data, dtype=torch.float32)[perm]
    y = torch.tensor(d.target)[perm]
    x = (x - x[:1450].mean()) / x[:1450].std()
    train = DataLoader(TensorDataset(x[:1450], y[:1450]), batch_size=58, shuffle=True, generator=g)
    test = DataLoader(TensorDataset(x[1450:], y[1450:]), batch_size=128)
    return train, test


def accuracy(model, loader):
    model.eval()
    with torch.no_grad():
        hits = [(model(x).argmax(1) == y).float() for x, y in loader]
    return torch.cat(hits).mean().item()


def train_teacher(train, test):
    teacher = net(192, 2)
    opt = optim.SGD(teacher.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    for epoch in range(6):
        teacher.train()
        for x, y in train:
            opt.zero_grad()
            F.cross_entropy(teacher(x), y).backward()
            opt.step()
        print(f"teacher epoch {epoch} accuracy {accuracy(teacher, test):.4f}")
    torch.save(teacher.state_dict(), TEACHER_FILE)


def kd_loss(student_logits, teacher_logits, y):
    soft = F.kl_div(
        F.log_softmax(student_logits / T, dim=1), F.softmax(teacher_logits / T, dim=1), reduction="batchmean"
    ) * T * T
    return ALPHA * soft + (1 - ALPHA) * F.cross_entropy(student_logits, y)


def train_student(train, test):
    teacher = net(192, 2)
    teacher.load_state_dict(torch.load(TEACHER_FILE, weights_only=True))
    teacher.eval()
    student = net(24, 1)
    opt = optim.Adam(student.parameters(), lr=4e-3)
    for epoch in range(8):
        student.train()
        total = 0.0
        for x, y in train:
            with torch.no_grad():
                soft_target = teacher(x)
            loss = kd_loss(student(x), soft_target, y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            total += loss.item()
        agree = 0
        student.eval()
        with torch.no_grad():
            for x, _ in test:
                agree += (student(x).argmax(1) == teacher(x).argmax(1)).sum().item()
        print(f"student epoch {epoch} loss {total / len(train):.4f} accuracy {accuracy(student, test):.4f} "
              f"agreement {agree / len(test.dataset):.4f}")
    return student, teacher


if __name__ == "__main__":
    torch.manual_seed(123)
    train, test = data()
    train_teacher(train, test)
    student, teacher = train_student(train, test)
    size = lambda m: sum(p.numel() for p in m.parameters())
    print(f"{size(teacher)} -> {size(student)} parameters, accuracy {accuracy(student, test):.4f}")
