"""Fit a deep ReLU perceptron with hand-written initialisation to the digits."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

torch.manual_seed(64)

# data
X, y = load_digits(return_X_y=True)
X_tr, X_va, y_tr, y_va = train_test_split(X, y, train_size=1400, random_state=64, stratify=y)
mu, sd = X_tr.mean(), X_tr.std()
X_tr = torch.tensor((X_tr - mu) / sd, dtype=torch.float32)
X_va = torch.tensor((X_va - mu) / sd, dtype=torch.float32)
y_tr, y_va = torch.tensor(y_tr), torch.tensor(y_va)

# model
WIDTH = 64
DEPTH = 8


class DeepNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.ModuleList(nn.Linear(64 if i == 0 else WIDTH, WIDTH) for i in range(DEPTH))
        self.final = nn.Linear(WIDTH, 10)
        for layer in self.hidden:
            nn.init.normal_(layer.weight, std=0.3)  # fault: too large, layer after layer
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        for layer in self.hidden:
            x = F.relu(layer(x))
        return self.final(x)


net = DeepNet()
opt = torch.optim.Adam(net.parameters(), lr=5e-4)
batch_size = 50
n_batches = len(X_tr) // batch_size  # 28, nothing left over

# training
for epoch in range(8):
    net.train()
    perm = torch.randperm(len(X_tr)).view(n_batches, batch_size)
    train_loss = 0.0
    for rows in perm:
        logits = net(X_tr[rows])
        loss = F.cross_entropy(logits, y_tr[rows])
        opt.zero_grad()
        loss.backward()
        opt.step()
        train_loss += loss.item() / n_batches

    net.eval()
    with torch.no_grad():
        logits = net(X_va)
        val_loss = F.cross_entropy(logits, y_va).item()
        val_acc = (logits.argmax(dim=1) == y_va).float().mean().item()
    print(f"epoch {epoch}: train loss {train_loss:.3f}  val loss {val_loss:.3f}  val acc {val_acc:.3f}")

print(f"final val acc {val_acc:.3f}")
