"""Ordinal regression by cumulative thresholds on diabetes."""
import torch
import torch.nn as nn
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.preprocessing import StandardScaler
from sklearn.model_selection import train_test_split


class OrdinalNet(nn.Module):
    """CORAL: one score, K-1 ordered biases"""

    def __init__(self, d, k):
        super().__init__()
        self.features = nn.Sequential(nn.Linear(d, 24), nn.ReLU(), nn.Linear(24, 1, bias=False))
        self.bias = nn.Parameter(torch.linspace(1.5, -1.5, k - 1))

    def forward(self, x):
        return self.features(x) + self.bias


def levels(y, k):
    return (y[:, None] > torch.arange(k - 1)).float()


def main():
    torch.manual_seed(2)
    X, y = load_diabetes(return_X_y=True)
    K = 5
    a, b, ya, yb = train_test_split(X, y, test_size=0.25, random_state=2)
    edges = np.quantile(ya, np.linspace(0, 1, K + 1)[1:-1])
    ya, yb = torch.tensor(np.digitize(ya, edges)), torch.tensor(np.digitize(yb, edges))
    s = StandardScaler().fit(a)
    a, b = torch.tensor(s.transform(a)).float(), torch.tensor(s.transform(b)).float()
    net = OrdinalNet(10, K)
    opt = torch.optim.Adam(net.parameters(), lr=5e-3, weight_decay=1e-3)
    for epoch in range(50):
        net.train()
        for idx in torch.randperm(len(a)).split(33):
            loss = nn.functional.binary_cross_entropy_with_logits(net(a[idx]), levels(ya[idx], K), reduction="none").sum(1).mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
        if epoch % 10 == 9:
            net.eval()
            with torch.no_grad():
                pred = (net(b).sigmoid() > 0.5).sum(1)
            mae = (pred - yb).abs().float().mean().item()
            base = (yb - 2).abs().float().mean().item()
            print(f"{epoch + 1} loss {loss.item():.3f} mae {mae:.3f} (middle class {base:.3f}) exact {(pred == yb).float().mean().item():.3f}")


main()
