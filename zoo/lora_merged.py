"""LoRA: adapt a frozen digit classifier to mirrored, inverted pictures with rank-3 updates, then merge them."""
import argparse
import math

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class LoRALinear(nn.Module):
    def __init__(self, base, rank, alpha):
        super().__init__()
        self.base = base
        for p in self.base.parameters():
            p.requires_grad_(False)
        self.down = nn.Parameter(torch.empty(rank, base.in_features))
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        self.scale = alpha / rank

    def forward(self, x):
        return self.base(x) + self.scale * F.linear(F.linear(x, self.down), self.up)

    @torch.no_grad()
    def merged(self):
        out = nn.Linear(self.base.in_features, self.base.out_features)
        out.weight.copy_(self.base.weight + self.scale * self.up @ self.down)
        out.bias.copy_(self.base.bias)
        return out


class MLP(nn.Module):
    def __init__(self, width=128):
        super().__init__()
        self.fc1 = nn.Linear(64, width)
        self.fc2 = nn.Linear(width, width)
        self.fc3 = nn.Linear(width, 10)

    def forward(self, x):
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))


def swap(model, fn):
    for name, child in list(model.named_children()):
        replacement = fn(child)
        if replacement is not None:
            setattr(model, name, replacement)
    return model


@torch.no_grad()
def test(model, data):
    model.eval()
    x, y = data.tensors
    out = model(x)
    return F.cross_entropy(out, y).item(), (out.argmax(1) == y).float().mean().item()


def fit(tag, model, train_set, valid_set, lr, epochs):
    params = [p for p in model.parameters() if p.requires_grad]
    print(f"{tag}: {sum(p.numel() for p in params)} of {sum(p.numel() for p in model.parameters())} weights trainable")
    opt = torch.optim.Adam(params, lr=lr)
    loader = DataLoader(train_set, batch_size=32, shuffle=True)
    for epoch in range(1, epochs + 1):
        model.train()
        total = 0.0
        for x, y in loader:
            opt.zero_grad(set_to_none=True)
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            opt.step()
            total += loss.item() * len(y)
        vl, va = test(model, valid_set)
        print(f"{tag} epoch {epoch:2d}  train {total / len(train_set):.4f}  valid {vl:.4f}  acc {va:.4f}")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--rank", type=int, default=3)
    ap.add_argument("--alpha", type=float, default=6.0)
    ap.add_argument("--seed", type=int, default=8)
    args = ap.parse_args()
    torch.manual_seed(args.seed)

    d = load_digits()
    order = torch.randperm(len(d.target))
    img = torch.tensor(d.images, dtype=torch.float32)[order]
    img = (img - img[:900].mean()) / img[:900].std()
    lab = torch.tensor(d.target)[order]
    other = -img.flip(2)
    flat = lambda a, lo, hi: TensorDataset(a[lo:hi].flatten(1), lab[lo:hi])

    model = MLP()
    fit("base", model, flat(img, 0, 900), flat(img, 1300, 1797), lr=1e-3, epochs=12)
    frozen = {k: v.clone() for k, v in model.state_dict().items()}

    print("base model on the other style: acc %.4f" % test(model, flat(other, 1300, 1797))[1])
    swap(model, lambda m: LoRALinear(m, args.rank, args.alpha) if isinstance(m, nn.Linear) else None)
    fit("lora", model, flat(other, 900, 1300), flat(other, 1300, 1797), lr=3e-3, epochs=25)

    assert all(torch.equal(v, frozen[k.replace(".base", "")]) for k, v in model.state_dict().items() if ".base" in k)
    before = test(model, flat(other, 1300, 1797))
    swap(model, lambda m: m.merged() if isinstance(m, LoRALinear) else None)
    after = test(model, flat(other, 1300, 1797))
    print(f"merged: valid loss {before[0]:.5f} -> {after[0]:.5f}, acc {after[1]:.4f}")


if __name__ == "__main__":
    main()
