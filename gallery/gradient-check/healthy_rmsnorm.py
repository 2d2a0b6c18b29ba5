# Diabetes progression with an MLP that uses a fused RMS normalisation with its own backward.
import torch
from sklearn.datasets import load_diabetes
from torch import nn


class FusedRMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(x, weight, eps):
        inv = torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
        return x * inv * weight

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, weight, eps = inputs
        ctx.save_for_backward(x, weight)
        ctx.eps = eps

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        inv = torch.rsqrt(x.square().mean(-1, keepdim=True) + ctx.eps)
        hat = x * inv
        scaled = grad * weight
        grad_x = inv * (scaled - hat * (scaled * hat).mean(-1, keepdim=True))
        grad_weight = (grad * hat).sum(0)
        return grad_x, grad_weight, None


rms_norm = FusedRMSNorm.apply


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))
        self.inner = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x):
        return x + self.inner(rms_norm(x, self.scale, 1e-6))


class Regressor(nn.Module):
    def __init__(self, inputs, width=24, depth=3):
        super().__init__()
        self.stem = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.scale = nn.Parameter(torch.ones(width))
        self.head = nn.Linear(width, 1)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(rms_norm(x, self.scale, 1e-6)).squeeze(-1)


torch.manual_seed(7)
features, target = load_diabetes(return_X_y=True)
features = torch.tensor(features, dtype=torch.float32) * 20
target = torch.tensor(target, dtype=torch.float32)
target = (target - target.mean()) / target.std()
order = torch.randperm(len(target))
train, held_out = order[:350], order[350:]

model = Regressor(features.shape[1])
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
loss_fn = nn.MSELoss()
for epoch in range(6):
    model.train()
    shuffled = train[torch.randperm(len(train))]
    for rows in shuffled.split(35):
        loss = loss_fn(model(features[rows]), target[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        fitted = loss_fn(model(features[train]), target[train]).item()
        error = loss_fn(model(features[held_out]), target[held_out]).item()
    print(f"epoch {epoch} training error {fitted:.3f} held-out error {error:.3f}")
