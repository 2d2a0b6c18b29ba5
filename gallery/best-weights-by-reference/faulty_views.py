"""Breast cancer with early stopping, as cells of a notebook; the best weights are loaded for the test."""
# %%
import torch
from torch import nn
import torch.nn.functional as F
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler
from sklearn.model_selection import train_test_split
from sklearn.metrics import roc_auc_score

torch.manual_seed(0)

# %%
data = load_breast_cancer()
X_trainval, X_test, y_trainval, y_test = train_test_split(data.data, data.target, test_size=0.2, random_state=42, stratify=data.target)
X_train, X_val, y_train, y_val = train_test_split(X_trainval, y_trainval, test_size=0.25, random_state=42, stratify=y_trainval)

sc = StandardScaler().fit(X_train)
X_train, X_val, X_test = [torch.tensor(sc.transform(a), dtype=torch.float32) for a in (X_train, X_val, X_test)]
y_train, y_val, y_test = [torch.tensor(a, dtype=torch.float32) for a in (y_train, y_val, y_test)]
print(X_train.shape, X_val.shape, X_test.shape)

# %%
class Net(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.fc1 = nn.Linear(d, 64)
        self.fc2 = nn.Linear(64, 32)
        self.drop = nn.Dropout(0.2)
        self.out = nn.Linear(32, 1)

    def forward(self, x):
        x = self.drop(F.relu(self.fc1(x)))
        x = F.relu(self.fc2(x))
        return self.out(x).squeeze(-1)

model = Net(X_train.shape[1])
opt = torch.optim.Adam(model.parameters(), lr=2e-3)

# %%
EPOCHS, BS, PATIENCE = 60, 32, 8
best_loss, best_weights, wait = float("inf"), None, 0
for epoch in range(EPOCHS):
    model.train()
    perm = torch.randperm(len(X_train))
    running = 0.0
    for i in range(0, len(perm), BS):
        idx = perm[i:i + BS]
        logits = model(X_train[idx])
        loss = F.binary_cross_entropy_with_logits(logits, y_train[idx])
        opt.zero_grad()
        loss.backward()
        opt.step()
        running += loss.item() * len(idx)

    model.eval()
    with torch.no_grad():
        v_logits = model(X_val)
        v_loss = F.binary_cross_entropy_with_logits(v_logits, y_val).item()
        v_acc = ((v_logits > 0) == (y_val > 0.5)).float().mean().item()
    print(f"Epoch {epoch:03d} train {running / len(perm):.4f} val {v_loss:.4f} acc {v_acc:.3f}")

    if v_loss < best_loss - 1e-4:
        best_loss = v_loss
        best_weights = {k: v.detach() for k, v in model.state_dict().items()}  # fault: no copy
        wait = 0
    else:
        wait += 1
        if wait >= PATIENCE:
            print("early stop at", epoch)
            break

# %%
model.load_state_dict(best_weights)
model.eval()
with torch.no_grad():
    prob = torch.sigmoid(model(X_test))
print("test acc", ((prob > 0.5) == (y_test > 0.5)).float().mean().item())
print("test auc", roc_auc_score(y_test.numpy(), prob.numpy()))
