"""Which of three cultivars a wine comes from, by its chemistry, with the classes balanced by a sampler."""
import torch
import torch.nn.functional as F
from sklearn.datasets import load_wine
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

SEED = 3
torch.manual_seed(SEED)

wine = load_wine()
x = torch.tensor(wine.data, dtype=torch.float32)
y = torch.tensor(wine.target)
order = torch.randperm(len(y))
train, test = order[:130], order[130:]
x = (x - x[train].mean(0)) / x[train].std(0)

class_counts = torch.bincount(y[train])
weights = (1.0 / class_counts)[y[train]]
sampler = WeightedRandomSampler(weights, num_samples=len(weights))
loader = DataLoader(TensorDataset(x[train], y[train]), batch_size=16, sampler=sampler)

net = torch.nn.Sequential(
    torch.nn.Linear(13, 24),
    torch.nn.Tanh(),
    torch.nn.Linear(24, 3),
)
opt = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)


def accuracy():
    net.eval()
    with torch.inference_mode():
        return (net(x[test]).argmax(1) == y[test]).float().mean().item()


for epoch in range(1, 16):
    net.train()
    seen = 0
    for features, cultivar in loader:
        loss = F.cross_entropy(net(features), cultivar)
        opt.zero_grad()
        loss.backward()
        opt.step()
        seen += len(cultivar)
    print(f"epoch {epoch:2d}: {seen} wines, last loss {loss.item():.4f}, test accuracy {accuracy():.3f}")

print("done")
