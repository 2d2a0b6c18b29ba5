"""A restricted Boltzmann machine on binary digits by persistent contrastive divergence, and a read-out."""
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits


class RBM(torch.nn.Module):
    def __init__(self, v, h):
        super().__init__()
        self.W = torch.nn.Parameter(torch.randn(v, h) * .05)
        self.bv = torch.nn.Parameter(torch.zeros(v))
        self.bh = torch.nn.Parameter(torch.zeros(h))

    def hid(self, v): return torch.sigmoid(v @ self.W + self.bh)
    def vis(self, h): return torch.sigmoid(h @ self.W.t() + self.bv)

    def free_energy(self, v):
        return -(v @ self.bv) - F.softplus(v @ self.W + self.bh).sum(1)

    @torch.no_grad()
    def gibbs(self, v, k=1):
        for _ in range(k):
            h = torch.bernoulli(self.hid(v))
            v = torch.bernoulli(self.vis(h))
        return v


torch.manual_seed(9)
data = load_digits()
V = (torch.tensor(data.data).float() / 16).round()
Y = torch.tensor(data.target)
order = torch.randperm(len(V))
V, Y = V[order], Y[order]
Vt, Yt, Vv, Yv = V[:1400], Y[:1400], V[1400:], Y[1400:]

rbm = RBM(64, 120)
chain = torch.bernoulli(torch.full((70, 64), .5))
opt = torch.optim.SGD(rbm.parameters(), lr=.05, momentum=.5)
for epoch in range(30):
    gap = 0
    for i in range(0, 1400, 70):
        v = Vt[i:i + 70]
        chain = rbm.gibbs(chain, 2)
        loss = rbm.free_energy(v).mean() - rbm.free_energy(chain).mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
        gap += loss.item() / 20
    Vt, Yt = (t[torch.randperm(1400, generator=torch.Generator().manual_seed(epoch))] for t in (Vt, Yt))
    if epoch % 5 == 4:
        with torch.no_grad():
            rec = (rbm.vis(rbm.hid(Vv)) - Vv).pow(2).mean().item()
        print(f'epoch {epoch + 1}: energy gap {gap:.3f} validation reconstruction {rec:.4f}')

with torch.no_grad():
    Ht, Hv = rbm.hid(Vt), rbm.hid(Vv)
readout = torch.nn.Linear(120, 10)
lopt = torch.optim.LBFGS(readout.parameters(), lr=1, max_iter=60)
def closure():
    lopt.zero_grad()
    l = F.cross_entropy(readout(Ht), Yt) + 1e-3 * readout.weight.pow(2).sum()
    l.backward()
    return l
lopt.step(closure)
with torch.no_grad():
    print('read-out accuracy', (readout(Hv).argmax(1) == Yv).float().mean().item())
