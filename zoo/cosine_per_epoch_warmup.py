"""Digits MLP, linear warm-up then cosine decay stepped once per epoch (options on the command line)."""
import argparse
import sys

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR
from torch.utils.data import DataLoader, TensorDataset

p = argparse.ArgumentParser()
p.add_argument("-e", "--epochs", default=12, type=int, metavar="N")
p.add_argument("-b", "--batch-size", default=64, type=int)
p.add_argument("--lr", default=0.08, type=float, help="peak learning rate")
p.add_argument("--warmup", default=3, type=int, help="epochs of linear warm-up")
p.add_argument("--seed", default=0, type=int)
p.add_argument("--quiet", action="store_true")


class MLP(nn.Sequential):
    def __init__(self, *sizes):
        layers = []
        for a, b in zip(sizes, sizes[1:]):
            layers += [nn.Linear(a, b), nn.LayerNorm(b), nn.GELU()]
        super().__init__(*layers[:-2])


def main(args):
    torch.manual_seed(args.seed)
    X, y = load_digits(return_X_y=True)
    Xa, Xb, ya, yb = train_test_split(X, y, test_size=360, random_state=args.seed, stratify=y)
    mu, sd = Xa.mean(), Xa.std()
    dataset = TensorDataset(torch.as_tensor((Xa - mu) / sd, dtype=torch.float32), torch.as_tensor(ya))
    holdout = torch.as_tensor((Xb - mu) / sd, dtype=torch.float32), torch.as_tensor(yb)
    loader = DataLoader(dataset, batch_size=args.batch_size, shuffle=True)

    model = MLP(64, 64, 64, 10)
    opt = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9, weight_decay=1e-4)
    sched = SequentialLR(
        opt,
        [LinearLR(opt, start_factor=0.1, total_iters=args.warmup), CosineAnnealingLR(opt, T_max=args.epochs - args.warmup)],
        milestones=[args.warmup],
    )
    for epoch in range(args.epochs):
        lr = opt.param_groups[0]["lr"]
        model.train()
        seen = loss_sum = 0
        for xb, yb in loader:
            opt.zero_grad()
            loss = nn.functional.cross_entropy(model(xb), yb)
            loss.backward()
            opt.step()
            loss_sum += loss.item() * len(xb)
            seen += len(xb)
        sched.step()
        model.eval()
        with torch.no_grad():
            out = model(holdout[0])
            err = (out.argmax(1) != holdout[1]).float().mean().item()
        if not args.quiet:
            print(f"{epoch:02d} lr={lr:.4f} loss={loss_sum / seen:.4f} error={err:.2%}")
    print(f"error at the end {err:.2%}")
    return 0


if __name__ == "__main__":
    sys.exit(main(p.parse_args()))
