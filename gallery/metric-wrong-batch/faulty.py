# %% Notebook export: iris with a two-layer network, everything at top level
import torch
from sklearn.datasets import load_iris
from torch import nn

torch.manual_seed(8)

# %% data
iris = load_iris()
X = torch.tensor(iris.data, dtype=torch.float32)
X = (X - X.mean(0)) / X.std(0)
Y = torch.tensor(iris.target)
dataset = torch.utils.data.TensorDataset(X, Y)
train_set, test_set = torch.utils.data.random_split(dataset, [105, 45])
train_dl = torch.utils.data.DataLoader(train_set, batch_size=15, shuffle=True)
test_dl = torch.utils.data.DataLoader(test_set, batch_size=15)

# %% model
net = nn.Sequential(nn.Linear(4, 24), nn.LeakyReLU(), nn.Linear(24, 3))
ce = nn.CrossEntropyLoss()
opt = torch.optim.RMSprop(net.parameters(), lr=3e-3)

# %% training
curve = []
for epoch in range(20):
    net.train()
    for xb, yb in train_dl:
        opt.zero_grad()
        loss = ce(net(xb), yb)
        loss.backward()
        opt.step()

    net.eval()
    n_right = n_all = 0
    with torch.no_grad():
        for xt, yt in test_dl:
            guess = net(xt).argmax(dim=1)
            n_right += (guess == yb).sum().item()  # fault: labels of the last training batch
            n_all += len(xt)
    curve.append(n_right / n_all)
    if epoch % 5 == 4:
        print(f"epoch {epoch + 1}: training loss {loss.item():.3f}, test accuracy {curve[-1]:.3f}")

# %% result
print("best", max(curve), "last", curve[-1])
