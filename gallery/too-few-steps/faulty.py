"""Which of three cultivars a wine is of: a small net on standardised measurements, in large batches."""

import torch
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from torch import nn

EPOCHS = 5  # fault: ten steps in all
BATCH = 64

torch.manual_seed(4)
table, cultivar = load_wine(return_X_y=True)
x_train, x_test, y_train, y_test = train_test_split(table, cultivar, test_size=0.3, random_state=4, stratify=cultivar)
mean, std = x_train.mean(0), x_train.std(0)
x_train, x_test = (torch.tensor((x - mean) / std, dtype=torch.float32) for x in (x_train, x_test))
y_train, y_test = torch.tensor(y_train), torch.tensor(y_test)

net = nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 3))
optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
for epoch in range(EPOCHS):
    net.train()
    for chosen in torch.randperm(len(x_train)).split(BATCH):
        loss = nn.functional.cross_entropy(net(x_train[chosen]), y_train[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        right = (net(x_test).argmax(1) == y_test).float().mean().item()
    if epoch % 25 == 24 or epoch == EPOCHS - 1:
        print(f"epoch {epoch + 1}: loss {loss.item():.3f}, right {right:.3f}")
