"""Two tasks on the diabetes data: the progression score, and whether a patient is above the median age."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_diabetes
from torch.utils.data import DataLoader, TensorDataset


class Shared(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(9, 32), nn.ReLU(), nn.Linear(32, width), nn.ReLU())
        self.score = nn.Linear(width, 1)
        self.older = nn.Linear(width, 1)

    def forward(self, x):
        h = self.trunk(x)
        return self.score(h).squeeze(1), self.older(h).squeeze(1)


def tables():
    data = load_diabetes()
    x = torch.tensor(data.data / data.data.std(0), dtype=torch.float32)
    older = (x[:, 0] > x[:, 0].median()).float()
    score = torch.tensor(data.target, dtype=torch.float32) * 100  # in the units of the register
    score = (score - score.mean()) / score.std()
    return x[:, 1:], score, older


torch.manual_seed(4)
x, score, older = tables()
order = torch.randperm(len(x))
train, test = order[:340], order[340:]
model = Shared()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
loader = DataLoader(TensorDataset(x[train], score[train], older[train]), batch_size=34, shuffle=True)
for epoch in range(30):
    for xb, sb, ob in loader:
        predicted, logit = model(xb)
        loss = F.mse_loss(predicted, sb) + F.binary_cross_entropy_with_logits(logit, ob)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if epoch % 10 == 9:
        with torch.no_grad():
            predicted, logit = model(x[test])
            right = ((logit > 0) == older[test].bool()).float().mean().item()
        print(f"epoch {epoch + 1} loss {loss.item():.3f} age group right {right:.3f}")
