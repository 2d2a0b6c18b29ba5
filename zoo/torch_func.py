"""Per-sample gradients with torch.func (vmap over grad), clipped per sample, averaged and given to Adam."""
import torch
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.func import functional_call, grad_and_value, vmap

CLIP = 2.0


def load():
    X, y = load_wine(return_X_y=True)
    X_tr, X_va, y_tr, y_va = train_test_split(X, y, test_size=48, random_state=3, stratify=y)
    scaler = StandardScaler().fit(X_tr)
    to = lambda a: torch.tensor(scaler.transform(a), dtype=torch.float32)
    return to(X_tr), torch.tensor(y_tr), to(X_va), torch.tensor(y_va)


def main():
    torch.manual_seed(3)
    x_train, y_train, x_valid, y_valid = load()
    model = nn.Sequential(nn.Linear(13, 32), nn.Tanh(), nn.Linear(32, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    params = dict(model.named_parameters())

    def sample_loss(weights, x, y):
        logits = functional_call(model, weights, (x.unsqueeze(0),))
        return nn.functional.cross_entropy(logits, y.unsqueeze(0))

    per_sample = vmap(grad_and_value(sample_loss), in_dims=(None, 0, 0))

    for epoch in range(12):
        total, clipped = 0.0, 0
        for rows in torch.randperm(len(x_train)).split(26):
            detached = {k: v.detach() for k, v in params.items()}
            grads, losses = per_sample(detached, x_train[rows], y_train[rows])
            norms = torch.stack([g.flatten(1).norm(dim=1) for g in grads.values()]).norm(dim=0)
            factor = (CLIP / (norms + 1e-6)).clamp(max=1.0)
            clipped += int((factor < 1).sum())
            for name, p in params.items():
                p.grad = torch.einsum("n,n...->...", factor, grads[name]) / len(rows)
            optimizer.step()
            optimizer.zero_grad()
            total += losses.sum().item()

        with torch.no_grad():
            out = model(x_valid)
            acc = (out.argmax(1) == y_valid).float().mean().item()
            val = nn.functional.cross_entropy(out, y_valid).item()
        print(f"epoch {epoch:2d} train {total / len(x_train):.4f} valid {val:.4f} acc {acc:.4f} clipped {clipped}")
    print(f"accuracy {acc:.4f}")


if __name__ == "__main__":
    main()
