"""A small patch network on digits in steps of random batches, computed in bfloat16."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits

device = "cpu"
dtype = torch.bfloat16
batch_size = 64
max_iters = 900
eval_interval = 100
learning_rate = 3e-4

torch.manual_seed(1337)
digits = load_digits()
X = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16.0
Y = torch.tensor(digits.target)
perm = torch.randperm(len(X))
X, Y = X[perm], Y[perm]
n = int(0.85 * len(X))
splits = {"train": (X[:n], Y[:n]), "val": (X[n:], Y[n:])}


def get_batch(split):
    x, y = splits[split]
    ix = torch.randint(len(x), (batch_size,))
    return x[ix].to(device), y[ix].to(device)


class PatchNet(nn.Module):
    def __init__(self, dim=64):
        super().__init__()
        self.patch = nn.Conv2d(1, dim, kernel_size=2, stride=2)
        self.mix = nn.Linear(16, 16)
        self.ln1 = nn.LayerNorm(dim)
        self.ln2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))
        self.head = nn.Linear(dim, 10)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = x + self.mix(self.ln1(x).transpose(1, 2)).transpose(1, 2)
        x = x + self.mlp(self.ln2(x))
        return self.head(x.mean(1))


model = PatchNet().to(device, dtype)  # fault: weights in bfloat16 lose small updates
optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)


@torch.no_grad()
def estimate():
    model.eval()
    out = {}
    for split in ("train", "val"):
        x, y = splits[split]
        with torch.autocast(device, dtype=dtype):
            logits = model(x)
        logits = logits.float()
        out[split] = (F.cross_entropy(logits, y).item(), (logits.argmax(-1) == y).float().mean().item())
    model.train()
    return out


for it in range(max_iters + 1):
    if it % eval_interval == 0:
        r = estimate()
        print(f"step {it}: train {r['train'][0]:.4f} val {r['val'][0]:.4f} acc {r['val'][1]:.4f}")
    xb, yb = get_batch("train")
    with torch.autocast(device, dtype=dtype):
        logits = model(xb)
    loss = F.cross_entropy(logits.float(), yb)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
