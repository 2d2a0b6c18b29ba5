"""Digits with a hand-written autograd Function: sign activations with a clipped straight-through gradient."""
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.autograd import Function
from torch.utils.data import DataLoader, TensorDataset


class SignSTE(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.where(x >= 0, 1.0, -1.0)

    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        return grad_output * (x.abs() <= 1.5)


class ScaledSoftplus(Function):
    """softplus(beta * x) / beta with its derivative written out"""

    @staticmethod
    def forward(ctx, x, beta):
        ctx.beta = beta
        sig = torch.sigmoid(beta * x)
        ctx.save_for_backward(sig)
        return torch.logaddexp(beta * x, torch.zeros_like(x)) / beta

    @staticmethod
    def backward(ctx, grad_output):
        (sig,) = ctx.saved_tensors
        return grad_output * sig, None


class BinaryNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(64, 128)
        self.bn1 = nn.BatchNorm1d(128)
        self.fc2 = nn.Linear(128, 64)
        self.fc3 = nn.Linear(64, 10)

    def forward(self, x):
        x = SignSTE.apply(self.bn1(self.fc1(x)))
        x = ScaledSoftplus.apply(self.fc2(x), 2.0)
        return self.fc3(x)


def check_gradient():
    x = torch.randn(6, dtype=torch.double, requires_grad=True)
    return torch.autograd.gradcheck(lambda v: ScaledSoftplus.apply(v, 2.0), (x,))


def main():
    torch.manual_seed(55)
    print("gradcheck", check_gradient())
    x, y = load_digits(return_X_y=True)
    x_tr, x_te, y_tr, y_te = train_test_split(x, y, test_size=0.2, random_state=55)
    m, s = x_tr.mean(), x_tr.std()
    x_tr, x_te = (torch.tensor((a - m) / s, dtype=torch.float32) for a in (x_tr, x_te))
    y_tr, y_te = torch.tensor(y_tr), torch.tensor(y_te)
    loader = DataLoader(TensorDataset(x_tr, y_tr), batch_size=64, shuffle=True)
    net = BinaryNet()
    opt = torch.optim.Adam(net.parameters(), lr=2e-3)
    for epoch in range(8):
        net.train()
        total = 0.0
        for xb, yb in loader:
            opt.zero_grad()
            loss = nn.functional.cross_entropy(net(xb), yb)
            loss.backward()
            opt.step()
            total += loss.item() * len(yb)
        net.eval()
        with torch.no_grad():
            acc = (net(x_te).argmax(1) == y_te).float().mean().item()
        print(f"epoch {epoch} loss {total / len(x_tr):.4f} test accuracy {acc:.4f}")
    print(f"binary activations reach {acc:.4f}")


if __name__ == "__main__":
    main()
