"""Train a network that recognises the cultivar of a wine from its chemical analysis."""
import torch
import torch.nn as nn
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

torch.manual_seed(11)

cfg = {"hidden": 32, "lr": 0.02, "momentum": 0.9, "batch": 16, "epochs": 20}

features, cultivar = load_wine(return_X_y=True)
tr_x, va_x, tr_y, va_y = train_test_split(features, cultivar, test_size=0.3, stratify=cultivar, random_state=11)
scaler = StandardScaler().fit(tr_x)
tr_x = torch.tensor(scaler.transform(tr_x), dtype=torch.float32)
va_x = torch.tensor(scaler.transform(va_x), dtype=torch.float32)
tr_y, va_y = torch.tensor(tr_y), torch.tensor(va_y)

net = nn.Sequential()
net.add_module("hidden", nn.Linear(13, cfg["hidden"]))
net.add_module("act", nn.Tanh())
net.add_module("out", nn.Linear(cfg["hidden"], 3))
net.add_module("prob", nn.Sigmoid())  # fault: sigmoid before CrossEntropyLoss

criterion = nn.CrossEntropyLoss()
sgd = torch.optim.SGD(net.parameters(), lr=cfg["lr"], momentum=cfg["momentum"])

for epoch in range(cfg["epochs"]):
    net.train()
    order = torch.randperm(len(tr_x))
    running = 0.0
    for idx in order.split(cfg["batch"]):
        scores = net(tr_x[idx])
        loss = criterion(scores, tr_y[idx])
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        running += loss.item() * len(idx)

    net.eval()
    with torch.no_grad():
        scores = net(va_x)
        va_loss = criterion(scores, va_y).item()
        va_acc = (scores.argmax(1) == va_y).float().mean().item()
    print(f"[{epoch + 1:02d}/{cfg['epochs']}] train {running / len(tr_x):.4f} val {va_loss:.4f} acc {va_acc:.3f}")

print(f"final: val loss {va_loss:.4f}, val accuracy {va_acc:.3f}")
