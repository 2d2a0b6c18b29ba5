"""A hypernetwork writes the weights of a small target network from a task's code."""
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(14)
N_TASK, H = 6, 16
freq = torch.tensor([1.0, 1.5, 2.0, 2.5, 3.0, 0.5])
SIZES = [(H, 1), (H,), (1, H), (1,)]


class HyperNet(nn.Module):
    def __init__(self, z=8):
        super().__init__()
        self.code = nn.Parameter(torch.randn(N_TASK, z))
        self.n = [torch.Size(s).numel() for s in SIZES]
        self.net = nn.Sequential(nn.Linear(z, 64), nn.ReLU(), nn.Linear(64, sum(self.n)))
        nn.init.normal_(self.net[2].weight, std=0.05)
        with torch.no_grad():
            self.net[2].bias[: self.n[0]].uniform_(-3, 3)
            self.net[2].bias[self.n[0]: self.n[0] + self.n[1]].uniform_(-2, 2)
            self.net[2].bias[self.n[0] + self.n[1]:].uniform_(-0.3, 0.3)

    def forward(self, task, x):
        flat = self.net(self.code[task])
        w1, b1, w2, b2 = [p.view(s) for p, s in zip(flat.split(self.n), SIZES)]
        return F.linear(torch.tanh(F.linear(x, w1, b1)), w2, b2)


hyper = HyperNet()
optimizer = torch.optim.Adam(hyper.parameters(), lr=2e-3)
for step in range(2000):
    optimizer.zero_grad()
    total = 0.0
    for k in torch.randperm(N_TASK)[:3].tolist():
        x = torch.rand(64, 1) * 4 - 2
        loss = F.mse_loss(hyper(k, x), torch.sin(freq[k] * x)) / 3
        loss.backward()
        total += loss.item()
    optimizer.step()
    if (step + 1) % 400 == 0:
        with torch.no_grad():
            x = torch.linspace(-2, 2, 200).unsqueeze(1)
            e = [F.mse_loss(hyper(k, x), torch.sin(freq[k] * x)).item() for k in range(N_TASK)]
        print(step + 1, round(total, 4), [round(v, 3) for v in e])
