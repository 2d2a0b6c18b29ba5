"""Learn features of digits without labels: a student predicts what a slowly moving teacher sees in another view."""

import copy

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
DECAY = 0.99

x, y = load_digits(return_X_y=True)
images = torch.tensor(x, dtype=torch.float32) / 16
loader = DataLoader(TensorDataset(images), batch_size=128, shuffle=True, drop_last=True)


def view(batch):
    keep = (torch.rand_like(batch) > 0.2).float()
    return batch * keep + 0.1 * torch.randn_like(batch)


def mlp(inputs, hidden, outputs):
    return nn.Sequential(nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, outputs))


student, predictor = mlp(64, 96, 48), mlp(48, 64, 48)
teacher = copy.deepcopy(student).requires_grad_(False)
optimizer = torch.optim.Adam([*student.parameters(), *predictor.parameters()], lr=1e-3)


@torch.no_grad()
def update_teacher():
    for slow, fast in zip(teacher.parameters(), student.parameters()):
        slow.copy_(DECAY * slow + (1 - DECAY) * fast)


for epoch in range(8):
    total = 0.0
    for (batch,) in loader:
        first, second = view(batch), view(batch)
        with torch.no_grad():
            wanted = teacher(second)
        loss = 2 - 2 * F.cosine_similarity(predictor(student(first)), wanted).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        update_teacher()
        total += loss.item()
    print(f"epoch {epoch}: loss {total / len(loader):.4f}")

student.eval()
with torch.no_grad():
    features = student(images).numpy()
probe = LogisticRegression(max_iter=300).fit(features[:1200], y[:1200])
print(f"linear probe: {probe.score(features[1200:], y[1200:]):.3f}")
