"""Discrete autoencoder: each digit becomes 4 codes out of 32."""
import torch
from torch import nn
from torch.nn import functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split



class Quantizer(nn.Module):
    def __init__(self, k, dim, beta=0.25):
        super().__init__()
        self.book = nn.Parameter(torch.randn(k, dim) * 0.5)
        self.beta = beta

    def forward(self, z):
        d = torch.cdist(z.reshape(-1, z.size(-1)), self.book)
        code = d.argmin(1)
        q = self.book[code].view_as(z)
        loss = F.mse_loss(q, z.detach()) + self.beta * F.mse_loss(z, q.detach())
        q = z + (q - z).detach()
        return q, loss, code


class AE(nn.Module):
    def __init__(self, slots=4, dim=8, k=32):
        super().__init__()
        self.slots, self.dim = slots, dim
        self.enc = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, slots * dim))
        self.quant = Quantizer(k, dim)
        self.dec = nn.Sequential(nn.Linear(slots * dim, 128), nn.ReLU(), nn.Linear(128, 64), nn.Sigmoid())

    def forward(self, x):
        z = self.enc(x).view(-1, self.slots, self.dim)
        q, extra, code = self.quant(z)
        return self.dec(q.flatten(1)), extra, code


torch.manual_seed(5)
X = torch.tensor(load_digits().data / 16.0, dtype=torch.float32)
tr, te = train_test_split(X, test_size=0.25, random_state=5)
net = AE()
opt = torch.optim.Adam(net.parameters(), lr=1e-3)
for ep in range(1, 101):
    net.train()
    rec_sum = ext_sum = 0.0
    for x in torch.utils.data.DataLoader(tr, batch_size=64, shuffle=True):
        y, extra, _ = net(x)
        rec = F.mse_loss(y, x)
        loss = 10 * rec + extra
        opt.zero_grad()
        loss.backward()
        opt.step()
        rec_sum += rec.item() * len(x)
        ext_sum += extra.item() * len(x)
    if ep % 20 == 0:
        print(f"epoch {ep}: rec {rec_sum / len(tr):.4f} codebook {ext_sum / len(tr):.4f}")
net.eval()
with torch.no_grad():
    y, _, code = net(te)
print(f"test reconstruction {F.mse_loss(y, te):.4f}; mean image {F.mse_loss(tr.mean(0).expand_as(te), te):.4f}; codes used {code.unique().numel()}")
