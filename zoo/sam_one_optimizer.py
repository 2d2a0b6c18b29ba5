"""Sharpness-aware minimisation (two backward passes per step), warm restarts."""
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts
from torch.utils.data import DataLoader, TensorDataset


class SAM(torch.optim.Optimizer):
    def __init__(self, params, base_cls, rho=0.05, **kw):
        super().__init__(params, dict(rho=rho, **kw))
        self.base = base_cls(self.param_groups, **kw)
        self.param_groups = self.base.param_groups

    @torch.no_grad()
    def climb(self):
        norm = torch.norm(torch.stack([p.grad.norm() for g in self.param_groups for p in g["params"]]))
        for g in self.param_groups:
            for p in g["params"]:
                e = p.grad * (g["rho"] / (norm + 1e-12))
                p.add_(e)
                self.state[p]["e"] = e

    @torch.no_grad()
    def descend(self):
        for g in self.param_groups:
            for p in g["params"]:
                p.sub_(self.state[p]["e"])
        self.base.step()

    def zero_grad(self, set_to_none=True):
        self.base.zero_grad(set_to_none)

    def step(self, closure):
        with torch.enable_grad():
            loss = closure()
        self.climb()
        self.zero_grad()
        with torch.enable_grad():
            closure()
        self.descend()
        self.zero_grad()
        return loss


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1 = nn.Conv2d(1, 12, 3, padding=1, bias=False)
        self.g1 = nn.GroupNorm(4, 12)
        self.c2 = nn.Conv2d(12, 24, 3, padding=1, bias=False)
        self.g2 = nn.GroupNorm(4, 24)
        self.fc = nn.Linear(24 * 4, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.g1(self.c1(x))), 2)
        x = F.max_pool2d(F.relu(self.g2(self.c2(x))), 2)
        return self.fc(x.flatten(1))


def main():
    torch.manual_seed(20)
    X, y = load_digits(return_X_y=True)
    X_tr, X_va, y_tr, y_va = train_test_split(X / 16.0, y, test_size=0.25, stratify=y, random_state=20)
    m, s = X_tr.mean(), X_tr.std()
    img = lambda a: torch.tensor((a - m) / s, dtype=torch.float32).view(-1, 1, 8, 8)
    train = DataLoader(TensorDataset(img(X_tr), torch.tensor(y_tr)), 64, shuffle=True,
                       generator=torch.Generator().manual_seed(20))
    val = DataLoader(TensorDataset(img(X_va), torch.tensor(y_va)), 256)

    model = Net()
    opt = SAM(model.parameters(), torch.optim.SGD, rho=0.05, lr=0.05, momentum=0.9)
    sched = CosineAnnealingWarmRestarts(opt.base, T_0=4, T_mult=2)      # 4 + 8 epochs
    for epoch in range(12):
        model.train()
        total = n = 0
        for x, t in train:
            def closure():
                loss = F.cross_entropy(model(x), t)
                loss.backward()
                return loss
            loss = opt.step(closure)
            total, n = total + loss.item() * len(t), n + len(t)
        lr = opt.param_groups[0]["lr"]
        sched.step()
        model.eval()
        v = hit = k = 0
        with torch.no_grad():
            for x, t in val:
                out = model(x)
                v += F.cross_entropy(out, t, reduction="sum").item()
                hit += (out.argmax(1) == t).sum().item()
                k += len(t)
        print(f"epoch {epoch + 1:2d}  lr {lr:.4f}  train {total / n:.4f}  val {v / k:.4f}  acc {hit / k:.3f}")


if __name__ == "__main__":
    main()
