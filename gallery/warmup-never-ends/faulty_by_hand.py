"""Digits with an MLP in a loop of single steps; warm-up and cosine are computed and set by hand."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits

# hyperparameters
batch_size = 64
max_steps = 600
warmup_steps = 20000  # fault: the run has 600 steps
max_lr = 3e-3
min_lr = 3e-4
eval_every = 100
# ------------

torch.manual_seed(1)
d = load_digits()
X = torch.tensor(d.data / 16, dtype=torch.float32)
Y = torch.tensor(d.target)
perm = torch.randperm(len(Y))
Xtr, Ytr = X[perm[:1437]], Y[perm[:1437]]
Xdev, Ydev = X[perm[1437:]], Y[perm[1437:]]


def get_lr(it):
    import math
    if it < warmup_steps:  # fault: always
        return max_lr * (it + 1) / warmup_steps
    if it > max_steps:
        return min_lr
    r = (it - warmup_steps) / (max_steps - warmup_steps)
    return min_lr + 0.5 * (1.0 + math.cos(math.pi * r)) * (max_lr - min_lr)


class MLP(nn.Module):
    def __init__(self, n_in, n_hidden, n_out):
        super().__init__()
        self.fc = nn.Linear(n_in, n_hidden)
        self.gelu = nn.GELU()
        self.proj = nn.Linear(n_hidden, n_out)

    def forward(self, idx, targets=None):
        logits = self.proj(self.gelu(self.fc(idx)))
        loss = None if targets is None else F.cross_entropy(logits, targets)
        return logits, loss


model = MLP(64, 128, 10)
decay = [p for p in model.parameters() if p.dim() >= 2]
nodecay = [p for p in model.parameters() if p.dim() < 2]
optimizer = torch.optim.AdamW([{'params': decay, 'weight_decay': 0.1}, {'params': nodecay, 'weight_decay': 0.0}], lr=max_lr, betas=(0.9, 0.95))

for it in range(max_steps):
    lr = get_lr(it)
    for group in optimizer.param_groups:
        group['lr'] = lr
    ix = torch.randint(0, Xtr.shape[0], (batch_size,))
    logits, loss = model(Xtr[ix], Ytr[ix])
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    if it % eval_every == 0 or it == max_steps - 1:
        model.eval()
        with torch.no_grad():
            lg, dl = model(Xdev, Ydev)
        model.train()
        print(f"{it:4d} | loss {loss.item():.4f} | dev {dl.item():.4f} | acc {(lg.argmax(1) == Ydev).float().mean().item():.4f} | lr {lr:.2e}")
