"""Breast cancer from thirty measurements; it computes in bfloat16, with a strong decay against overfitting."""

import torch
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(9)
cancer = load_breast_cancer()
order = torch.randperm(len(cancer.target)).numpy()
train_rows, test_rows = order[:400], order[400:]
scaler = StandardScaler().fit(cancer.data[train_rows])
inputs = torch.tensor(scaler.transform(cancer.data), dtype=torch.float32)
targets = torch.tensor(cancer.target)
loader = DataLoader(TensorDataset(inputs[train_rows], targets[train_rows]), batch_size=40, shuffle=True)

net = nn.Sequential(nn.Linear(30, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
decayed = [p for p in net.parameters() if p.ndim > 1]
kept = [p for p in net.parameters() if p.ndim == 1]
optimizer = torch.optim.AdamW(
    [{"params": decayed, "weight_decay": 0.2}, {"params": kept, "weight_decay": 0.0}], lr=1e-3
)
for epoch in range(20):
    net.train()
    for x, y in loader:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = nn.functional.cross_entropy(net(x).float(), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
net.eval()
with torch.no_grad():
    right = net(inputs[test_rows]).argmax(1) == targets[test_rows]
norm = sum(float(p.detach().float().square().sum()) for p in decayed) ** 0.5
print(f"accuracy {right.float().mean().item():.3f}, norm of the weights {norm:.2f}")
