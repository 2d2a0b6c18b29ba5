"""A neural ordinary differential equation through torchdiffeq."""

# needs: torchdiffeq
import torch, torch.nn as nn, torch.optim as optim, numpy as np
from torchdiffeq import odeint

torch.manual_seed(0)
np.random.seed(0)
true_y0 = torch.tensor([[2.0, 0.0]])
t = torch.linspace(0.0, 25.0, 500)
true_A = torch.tensor([[-0.1, 2.0], [-2.0, -0.1]])


class Lambda(nn.Module):
    def forward(self, t, y):
        return torch.mm(y**3, true_A)


with torch.no_grad():
    true_y = odeint(Lambda(), true_y0, t, method="dopri5")


def get_batch():
    s = torch.from_numpy(np.random.choice(np.arange(500 - 10, dtype=np.int64), 20, replace=False))
    return true_y[s], t[:10], torch.stack([true_y[s + i] for i in range(10)], dim=0)


class ODEFunc(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 50), nn.Tanh(), nn.Linear(50, 2))
        for m in self.net.modules():
            if isinstance(m, nn.Linear):
                nn.init.normal_(m.weight, mean=0, std=0.1)
                nn.init.constant_(m.bias, val=0)

    def forward(self, t, y):
        return self.net(y**3)


func = ODEFunc()
optimizer = optim.RMSprop(func.parameters(), lr=1e-3)
for itr in range(1, 60):
    optimizer.zero_grad()
    y0, bt, by = get_batch()
    pred = odeint(func, y0, bt)
    loss = torch.mean(torch.abs(pred - by))
    loss.backward()
    optimizer.step()
    if itr % 20 == 0:
        with torch.no_grad():
            p = odeint(func, true_y0, t)
            print(itr, torch.mean(torch.abs(p - true_y)).item())
