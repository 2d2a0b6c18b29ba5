# Wine cultivars with an MLP and SGD, as in a course exercise.
import torch
import torch.nn.functional as F
from sklearn.datasets import load_wine
from sklearn.model_selection import StratifiedShuffleSplit
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(9)
x, y = load_wine(return_X_y=True)
x = torch.tensor((x - x.mean(0)) / x.std(0), dtype=torch.float32)
y = torch.tensor(y)
train, test = next(StratifiedShuffleSplit(1, test_size=0.3, random_state=9).split(x, y))
loader = DataLoader(TensorDataset(x[train], y[train]), batch_size=16, shuffle=True)

mlp = nn.Sequential(nn.Linear(13, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))
sgd = torch.optim.SGD(mlp.parameters(), lr=0.1, momentum=0.999, weight_decay=1e-4)  # fault: a typing mistake for 0.9 makes steps a hundred times as long

for epoch in range(12):
    mlp.train()
    summed = 0.0
    for inputs, cultivars in loader:
        sgd.zero_grad()
        loss = F.cross_entropy(mlp(inputs), cultivars)
        loss.backward()
        sgd.step()
        summed += loss.item() * len(cultivars)
    mlp.eval()
    with torch.no_grad():
        accuracy = (mlp(x[test]).argmax(1) == y[test]).float().mean().item()
    print(f"epoch {epoch}: loss {summed / len(train):.3f}, accuracy {accuracy:.3f}")
