"""Full-batch L-BFGS with a strong-Wolfe line search for a small regularised network on breast-cancer data."""
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from torch import nn

torch.manual_seed(12)
torch.set_default_dtype(torch.float64)

X, y = load_breast_cancer(return_X_y=True)
X = torch.from_numpy(X)
y = torch.from_numpy(y).to(X.dtype)
fit, hold = (torch.as_tensor(i) for i in train_test_split(range(len(y)), test_size=0.3, random_state=12, stratify=y))
X = (X - X[fit].mean(0)) / X[fit].std(0)

model = nn.Sequential(nn.Linear(30, 12), nn.Tanh(), nn.Linear(12, 1), nn.Flatten(0))
bce = nn.BCEWithLogitsLoss()
optimizer = torch.optim.LBFGS(model.parameters(), lr=1, max_iter=2, history_size=10, line_search_fn="strong_wolfe")


def objective(rows):
    ridge = sum(p.square().sum() for p in model.parameters() if p.ndim > 1)
    return bce(model(X[rows]), y[rows]) + 2e-3 * ridge


def closure():
    optimizer.zero_grad()
    loss = objective(fit)
    loss.backward()
    return loss


for step in range(36):
    model.train()
    loss = optimizer.step(closure)
    if step % 6 == 5:
        model.eval()
        with torch.no_grad():
            out = model(X[hold])
            acc = ((out > 0) == y[hold].bool()).double().mean()
            print(f"step {step + 1:2d}: objective {loss.item():.6f}, held-out loss {bce(out, y[hold]).item():.6f}, "
                  f"accuracy {acc.item():.4f}")

print(f"objective at the end {closure().item():.6f} after {optimizer.state_dict()['state'][0]['func_evals']} evaluations")
